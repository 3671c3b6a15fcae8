/**
 * What an agent does all day: it wrote a program, and runs it where it can break nothing.
 * Needs a running Atoll (`atoll up`). ATOLL_URL and ATOLL_API_KEY, or what `up` saved for this machine.
 *   node examples/data-analysis.ts [chart.png]
 */
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Atoll } from '@atoll/sdk'

/** Stands for what a model wrote. Uses only what the template `base` has: nothing is installed. */
const program = `
import sys
import pandas
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plot

penguins = pandas.read_csv(sys.argv[1]).dropna(subset=["body_mass_g", "flipper_length_mm"])
print(f"{len(penguins)} penguins of {penguins.species.nunique()} species", flush=True)
print(penguins.groupby("species").body_mass_g.agg(["count", "mean", "std"]).round(1).to_string(), flush=True)
r = penguins.flipper_length_mm.corr(penguins.body_mass_g)
print(f"flipper length and body mass correlate with r = {r:.3f}", flush=True)

for species, group in penguins.groupby("species"):
    plot.scatter(group.flipper_length_mm, group.body_mass_g, label=species, s=16)
plot.xlabel("flipper length, mm")
plot.ylabel("body mass, g")
plot.legend()
plot.savefig(sys.argv[2], dpi=120)
print("chart written", flush=True)
`

const deadlineMs = 120_000
const pngSignature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

const main = async (): Promise<void> => {
  const atoll = openClient()
  await using sandbox = await atoll.sandboxes.create({
    labels: { example: 'data-analysis' },
    limits: { memoryMib: 1024 },
    timeoutMs: 10 * 60_000,
  })
  const { runtime, strength, description } = sandbox.isolation
  console.log(`sandbox ${sandbox.id}\nisolation: ${runtime} (${strength}). ${description}\n`)

  const data = readFileSync(new URL('data/penguins.csv', import.meta.url))
  await sandbox.files.write('penguins.csv', data)
  await sandbox.files.write('analyse.py', program)

  const { exit } = await sandbox.run(['python3', 'analyse.py', 'penguins.csv', 'chart.png'], {
    timeoutMs: deadlineMs,
    check: true,
    onStdout: (text) => process.stdout.write(text),
    onStderr: (text) => process.stderr.write(text),
  })

  const chart = await sandbox.files.read('chart.png')
  if (!pngSignature.every((byte, at) => chart[at] === byte)) throw new Error('chart.png is no PNG')
  const view = new DataView(chart.buffer, chart.byteOffset)
  const size = `${view.getUint32(16)} x ${view.getUint32(20)} pixels`
  console.log(`\nchart.png: a PNG of ${chart.length} bytes, ${size}; ${Math.round(exit.cpuMs)} ms of CPU`)
  const target = process.argv[2]
  if (target !== undefined) {
    await writeFile(target, chart)
    console.log(`saved to ${target}`)
  }
}

/** The environment, else what `atoll up` saved. */
const openClient = (): Atoll => {
  if (process.env['ATOLL_API_KEY'] !== undefined) return new Atoll()
  const folder = process.env['XDG_CONFIG_HOME'] ?? join(process.env['HOME'] ?? homedir(), '.config')
  const saved = JSON.parse(readFileSync(join(folder, 'atoll/config.json'), 'utf8')) as {
    url: string
    apiKey: string
  }
  return new Atoll({ baseUrl: process.env['ATOLL_URL'] ?? saved.url, apiKey: saved.apiKey })
}

await main()
