#!/usr/bin/env node
import { makeProgram } from './program.ts'

// A reader that went away (`atoll … | head`) is no failure.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })

await makeProgram().parseAsync()
