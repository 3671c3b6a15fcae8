import { afterAll, describe, expect, it } from 'vitest'
import { testHost } from '../../host/test-host.ts'
import { makeBench } from '../tests/bench.ts'
import { containerDriver } from './driver.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/crun', cgroupParent: 'atoll-test' }

describe.skipIf(skip !== undefined)(`a container's walls (${skip ?? 'runs'})`, () => {
  const bench = makeBench(() => containerDriver(common), imagePath)
  afterAll(() => bench[Symbol.asyncDispose]())

  it("lets no command leave its group in the agent's cgroup", async () => {
    await using box = await bench.boot()
    // The effect counts: where nothing is mounted, a write only makes a file.
    const move = [
      'before=$(grep ^0: /proc/self/cgroup)',
      'for f in /.atoll/cgroup/cgroup.procs /.atoll/cgroup/*/cgroup.procs; do',
      '  echo $$ 2>/dev/null > $f; [ "$before" = "$(grep ^0: /proc/self/cgroup)" ] || exit 9',
      'done 2>/dev/null',
      '[ -n "$before" ] && echo kept',
    ].join('\n')
    for (const user of ['user', 'root'])
      expect([user, (await box.run(move, { user })).stdout]).toEqual([user, 'kept\n'])
  })

  it('refuses system calls that reach deep into the kernel', async () => {
    await using box = await bench.boot()
    const attempts = [
      'import ctypes, os, socket',
      'libc = ctypes.CDLL(None, use_errno=True)',
      'def call(name, number, *args):',
      '    ctypes.set_errno(0); r = libc.syscall(number, *args); print(name, r, ctypes.get_errno())',
      'call("bpf", 321, 0, None, 0)',
      'call("io_uring_setup", 425, 1, None)',
      'call("userfaultfd", 323, 0)',
      'call("keyctl", 250, 0, -1, 0)',
      'call("unshare", 272, 0x10000000)',
      'call("mount", 165, None, None, None, 0, None)',
      'call("perf_event_open", 298, None, 0, -1, -1, 0)',
      'call("open_by_handle_at", 304, -1, None, 0)',
      'call("clone3", 435, None, 0)',
      'for family in (17, 38, 40):',
      '    try: socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_STREAM); print("socket", family, 0, 0)',
      '    except OSError as e: print("socket", family, e.errno)',
    ].join('\n')
    for (const user of ['user', 'root']) {
      const { stdout } = await box.run(['python3', '-c', attempts], { user })
      const lines = stdout.trim().split('\n')
      expect(lines.filter((line) => !/ -1 1$|clone3 -1 38$|^socket \d+ 1$/.test(line))).toEqual([])
      expect(lines).toHaveLength(12)
    }
  })

  it("runs as ids of its own on the host, with none of the host's rights", async () => {
    await using box = await bench.boot()
    const { stdout } = await box.run(
      'cat /proc/self/uid_map; grep -E "CapEff|CapBnd|NoNewPrivs|Seccomp:" /proc/self/status',
    )
    expect(stdout.split('\n')[0]?.trim().split(/\s+/)).toEqual(['0', String(box.spec.uidBase), '65536'])
    expect(stdout).toMatch(/CapEff:\s+0{16}/)
    expect(stdout).toMatch(/NoNewPrivs:\s+1/)
    expect(stdout).toMatch(/Seccomp:\s+2/)
  })
})
