import { conformance } from '../conformance.ts'
import { simulatedDriver } from './driver.ts'
import { simulatedWorld } from './world.ts'

const world = simulatedWorld()
const noKernel = 'a simulation has no kernel, no memory and no network of its own'
const noTree = 'simulated programs have no children'

conformance('simulated', () => simulatedDriver({ world }), {
  imagePath: '',
  skip: {
    'freezes and thaws, with its processes': 'its shell has no loops',
    'gives a terminal that can be resized': 'it has no terminals, only their output',
    'ends the whole tree, whatever it called': noTree,
    'ends what a command leaves behind, unless it is to be kept': noTree,
    'answers after kill -9 -1 of everything inside': noTree,
    'shows its own memory inside': noKernel,
    'shows its own disk inside': noKernel,
    'names memory as what ended a command, and goes on': noKernel,
    'names the number of processes as what was in the way, and goes on': noTree,
    'survives a fork bomb': noTree,
    'names the disk as what is full, and goes on': 'it has no /dev/zero; its disk limit is tested by itself',
    'keeps in memory what nobody wrote down':
      'it has no python3; its programs keep memory, see the other cases',
    'goes on with pipes, terminals and connections that were open': noKernel,
    'takes other limits in a copy': noKernel,
    'tells a program nothing of descriptors that it gave up': noKernel,
    'saves its disk, and boots others on it': "its disk alone is given by the guest's layer",
    'refuses more open files than its limit': noKernel,
    'keeps to its share of the CPU': noKernel,
    'has no network but loopback': noKernel,
    'gives its root no right over kernel or host': noKernel,
    'does not let a command reach the agent or end it': noTree,
    'does not let root inside end the agent': noTree,
    'lets the user become root by sudo, as the image says': noKernel,
    'shows commands nothing of its own folders on the host': noKernel,
  },
})
