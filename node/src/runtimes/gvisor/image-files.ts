import { readFile, stat } from 'node:fs/promises'
import { AtollError, type ErrorCode } from '@atoll/protocol'
import { pagesBytes } from './pages-meta.ts'

/** Kernel state, the list of pages, the pages: in the order in which runsc takes them. */
export const imageFiles = ['checkpoint.img', 'pages_meta.img', 'pages.img'] as const

/**
 * Throws `code` where the files are not whole: the list of pages ends where it should and `pages.img` has exactly
 * what it lists. Who keeps the files compares their hashes; this is what the format itself can tell.
 */
export const checkImageFiles = async (
  files: readonly { readonly name: string; readonly path: string }[],
  code: ErrorCode,
): Promise<void> => {
  const fault = (what: string, cause?: unknown): AtollError =>
    new AtollError(code, `the image of the sandbox is not whole: ${what}`, { cause })
  const [state, list, pages] = imageFiles.map((name) => files.find((file) => file.name === name)?.path)
  if (state === undefined || list === undefined || pages === undefined || files.length !== imageFiles.length)
    throw fault(`it must have ${imageFiles.join(', ')}`)
  const sizeOf = async (path: string): Promise<number> =>
    await stat(path).then(
      ({ size }) => size,
      (error: unknown) => {
        throw fault(`${path} cannot be read`, error)
      },
    )
  if ((await sizeOf(state)) === 0) throw fault(`${state} is empty`)
  let listed: number
  try {
    listed = pagesBytes(await readFile(list))
  } catch (error) {
    throw fault(`${list} is damaged: ${error instanceof Error ? error.message : String(error)}`, error)
  }
  const found = await sizeOf(pages)
  if (found !== listed || listed === 0) throw fault(`${pages} has ${found} bytes where ${listed} are listed`)
}
