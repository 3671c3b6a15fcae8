import { testHost } from '../../host/test-host.ts'
import { conformance } from '../conformance.ts'
import { gvisorDriver } from './driver.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/gvisor', cgroupParent: 'atoll-test' }

conformance('gvisor', () => gvisorDriver(common), {
  imagePath,
  skipAll: skip,
  skip: {},
})
