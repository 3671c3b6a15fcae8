import { testHost } from '../../host/test-host.ts'
import { conformance } from '../conformance.ts'
import { gvisorDriver } from './driver.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/gvisor', cgroupParent: 'atoll-test' }

const layer = "its disk is a part of its memory; files alone travel by the guest's layer, above the driver"

conformance('gvisor', () => gvisorDriver(common), {
  imagePath,
  skipAll: skip,
  skip: {
    'keeps its disk in place over an end and a new start': layer,
    'saves its disk, and boots others on it': layer,
  },
})
