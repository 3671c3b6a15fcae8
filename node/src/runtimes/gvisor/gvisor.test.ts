import { testHost } from '../../host/test-host.ts'
import { conformance } from '../conformance.ts'
import { gvisorDriver } from './driver.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/gvisor', cgroupParent: 'atoll-test' }

conformance('gvisor', () => gvisorDriver(common), {
  imagePath,
  skipAll: skip,
  skip: {
    'does not let root inside end the agent':
      'gVisor protects no init from signals: root inside can end its own sandbox, which is recorded as a fault',
    'lets the user become root by sudo, as the image says':
      'gVisor of this build takes no_new_privs as always set: commands run as root by `user`, not by sudo',
  },
})
