import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { probePrefix, sweepProbes } from './sweep-probes.ts'

/** Above the kernel's greatest pid. */
const deadPid = 2 ** 22 + 1
const made: string[] = []
const folderOf = async (prefix: string): Promise<string> => {
  const folder = await mkdtemp(prefix)
  made.push(folder)
  await mkdir(join(folder, 'root'))
  return folder
}
afterEach(async () => {
  for (const folder of made.splice(0)) await rm(folder, { recursive: true, force: true })
})

it('removes what a killed probe left, and nothing of a living one or of somebody else', async () => {
  const dead = await folderOf(join(tmpdir(), `atoll-probe-gvisor-${deadPid}-`))
  const living = await folderOf(probePrefix('gvisor'))
  const other = await folderOf(join(tmpdir(), `atoll-probe-container-${deadPid}-`))
  // Open to others, so not made by a probe: a record in it could name any process as a victim.
  const planted = await folderOf(join(tmpdir(), `atoll-probe-gvisor-${deadPid}-planted-`))
  await mkdir(join(planted, 'sbx_planted'))
  await chmod(planted, 0o777)
  await sweepProbes('gvisor', '/bin/false', AbortSignal.timeout(5_000))
  expect([dead, living, other, planted].map((folder) => existsSync(folder))).toEqual([
    false,
    true,
    true,
    true,
  ])
})
