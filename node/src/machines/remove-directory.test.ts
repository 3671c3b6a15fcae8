import { access, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { removeDirectory } from './remove-directory.ts'

describe('removing a folder', () => {
  it('counts what went, follows no symlink, and can be repeated', async () => {
    const top = await mkdtemp(join(tmpdir(), 'atoll-remove-'))
    const outside = join(top, 'outside')
    const folder = join(top, 'sandbox')
    await mkdir(join(folder, 'deep', 'er'), { recursive: true })
    await mkdir(outside)
    await writeFile(join(outside, 'precious'), 'kept')
    await writeFile(join(folder, 'deep', 'file'), '')
    await symlink(outside, join(folder, 'deep', 'link'))
    await symlink('/', join(folder, 'root'))
    expect(await removeDirectory(folder)).toBe(6)
    await expect(access(folder)).rejects.toThrow()
    expect(await readFile(join(outside, 'precious'), 'utf8')).toBe('kept')
    expect(await removeDirectory(folder)).toBe(0)
    await rm(top, { recursive: true })
  })

  it('refuses a symlink in place of the folder', async () => {
    const top = await mkdtemp(join(tmpdir(), 'atoll-remove-'))
    await mkdir(join(top, 'outside'))
    await symlink(join(top, 'outside'), join(top, 'sandbox'))
    await expect(removeDirectory(join(top, 'sandbox'))).rejects.toMatchObject({ code: 'internal' })
    await access(join(top, 'outside'))
    await rm(top, { recursive: true })
  })
})
