/** What an import is doing. */
export interface ImageProgress {
  readonly stage: 'bootstrap' | 'download' | 'unpack' | 'pack' | 'done'
  /** What it is about: a layer's digest, a file's name. */
  readonly subject: string
  readonly doneBytes: number
  readonly totalBytes?: number
  /** A line for people: what the tool says. */
  readonly text?: string
}

/** Takes progress; called often, so it must be quick. */
export type OnImageProgress = (progress: ImageProgress) => void
