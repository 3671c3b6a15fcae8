import { readFileSync } from 'node:fs'
import { buildRemedy, isExecutable, programPaths } from '../programs.ts'
import { type Check, type Finding, missing, ok, warning } from './check.ts'
import { tryCommand } from './try-command.ts'

/** The one build of runsc that Atoll knows; bookworm's own of 2022 cannot run it. */
const runscBuild = '20240729'

export const checkRunsc: Check = async (signal) => {
  const remedy =
    'scripts/setup, or: apt-get install -t bookworm-backports runsc (add that suite to apt first)'
  const tried = await tryCommand('runsc', ['--version'], signal)
  if (!tried.ok)
    return warning('runsc', `${tried.reason}: no gVisor, only the weaker container runtime`, remedy)
  const version = /^runsc version (\S+)/m.exec(tried.stdout)?.[1] ?? 'unknown'
  return version.includes(runscBuild)
    ? ok('runsc', `version ${version}`)
    : warning('runsc', `version ${version}, and only build ${runscBuild} is known to work`, remedy)
}

const packages: readonly {
  file: string
  args: readonly string[]
  package: string
  why: string
  needed: boolean
}[] = [
  { file: 'crun', args: ['--version'], package: 'crun', why: 'the container runtime', needed: false },
  { file: 'mkfs.erofs', args: ['--help'], package: 'erofs-utils', why: 'template images', needed: true },
  {
    file: 'mmdebstrap',
    args: ['--version'],
    package: 'mmdebstrap',
    why: 'building the base template',
    needed: true,
  },
  { file: 'mkfs.ext4', args: ['-V'], package: 'e2fsprogs', why: 'disks of containers', needed: true },
  { file: 'zstd', args: ['--version'], package: 'zstd', why: 'the cache of the base template', needed: true },
]

export const checkTools: Check = async (signal) => {
  const findings: Finding[] = []
  for (const tool of packages) {
    const tried = await tryCommand(tool.file, tool.args, signal)
    const absent = tool.needed ? missing : warning
    findings.push(
      tried.ok
        ? ok(tool.file, tried.said.startsWith('usage') ? 'there' : tried.said)
        : absent(tool.file, `${tried.reason}; it is for ${tool.why}`, `apt-get install ${tool.package}`),
    )
  }
  return findings
}

/** Our own programs, and that they are static: they run in images that hold nothing else. */
export const checkPrograms: Check = async () =>
  Object.entries(programPaths).map(([name, path]: [string, string]) => {
    if (!isExecutable(path)) return missing(name, `${path} is not built`, buildRemedy)
    return readFileSync(path).includes('/lib64/ld-linux')
      ? missing(name, `${path} is not static`, buildRemedy)
      : ok(name, path)
  })
