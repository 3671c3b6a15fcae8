import { testHost } from '../../host/test-host.ts'
import { conformance } from '../conformance.ts'
import { containerDriver } from './driver.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/crun', cgroupParent: 'atoll-test' }

conformance('container', () => containerDriver(common), {
  imagePath,
  skipAll: skip,
  skip: {},
})
