/** One entry of a hostile archive, written as it is: nothing here checks anything. */
export interface TarEntry {
  readonly name: string
  /** `0` file, `1` hard link, `2` symlink, `3` character device, `4` block device, `5` directory, `6` fifo, `L` GNU long name, `x` pax. */
  readonly type?: string
  readonly link?: string
  readonly body?: string
  readonly mode?: number
  readonly uid?: number
  /** Says another size than the body has. */
  readonly claimedSize?: number
  readonly brokenChecksum?: boolean
}

const blockBytes = 512

/** An archive of these entries in ustar form, with the two closing blocks. */
export const tarBytes = (entries: readonly TarEntry[]): Uint8Array =>
  Buffer.concat([...entries.flatMap(entryBytes), Buffer.alloc(2 * blockBytes)])

const entryBytes = (entry: TarEntry): Buffer[] => {
  const body = Buffer.from(entry.body ?? '')
  const header = Buffer.alloc(blockBytes)
  header.write(entry.name, 0, 100)
  octal(header, entry.mode ?? 0o644, 100, 8)
  octal(header, entry.uid ?? 1_000, 108, 8)
  octal(header, entry.uid ?? 1_000, 116, 8)
  octal(header, entry.claimedSize ?? body.length, 124, 12)
  octal(header, 0, 136, 12)
  header.write(entry.type ?? '0', 156)
  header.write(entry.link ?? '', 157, 100)
  header.write('ustar\u000000', 257, 'latin1')
  header.fill(' ', 148, 156)
  const sum = header.reduce((total, byte) => total + byte, entry.brokenChecksum === true ? 1 : 0)
  octal(header, sum, 148, 8)
  return [header, body, Buffer.alloc((blockBytes - (body.length % blockBytes)) % blockBytes)]
}

const octal = (header: Buffer, value: number, at: number, width: number): void => {
  header.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1')
}
