import type { ImageConfig, Step } from '@atoll/protocol'

/** A step that changes files: it runs in a sandbox and makes a layer. */
export type FileStep = Extract<Step, { type: 'run' | 'copy' }>

export const changesFiles = (step: Step): step is FileStep => step.type === 'run' || step.type === 'copy'

/** The defaults after a step that changes no files. */
export const applyStep = (config: ImageConfig, step: Exclude<Step, FileStep>): ImageConfig => {
  switch (step.type) {
    case 'env':
      return { ...config, env: { ...config.env, ...step.env } }
    case 'workdir':
      return { ...config, workdir: step.path }
    case 'user':
      return { ...config, user: step.user }
    case 'start':
      return { ...config, start: step.argv }
    case 'ready':
      return { ...config, ready: { argv: step.argv, timeoutMs: step.timeoutMs } }
    default:
      return unreachable(step)
  }
}

const unreachable = (step: never): never => {
  throw new TypeError(`no such step: ${JSON.stringify(step)}`)
}

const instructionLength = 200

/** A step in one line, as the build's log and errors name it. */
export const instructionOf = (step: Step): string => {
  const text = ((): string => {
    switch (step.type) {
      case 'run':
        return `run ${step.shell ?? step.argv?.join(' ') ?? ''}`
      case 'copy':
        return `copy ${step.from} ${step.to}`
      // Values may be secret; names are not.
      case 'env':
        return `env ${Object.keys(step.env).join(' ')}`
      case 'workdir':
        return `workdir ${step.path}`
      case 'user':
        return `user ${step.user}`
      default:
        return `${step.type} ${step.argv.join(' ')}`
    }
  })()
  return text.length > instructionLength ? `${text.slice(0, instructionLength - 1)}…` : text
}
