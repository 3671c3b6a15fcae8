import { testHost } from '../../host/test-host.ts'
import { conformance } from '../conformance.ts'
import { containerDriver } from './driver.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/crun', cgroupParent: 'atoll-test' }

conformance('container', () => containerDriver(common), {
  imagePath,
  skipAll: skip,
  skip: {
    'lets the user become root by sudo, as the image says':
      'no_new_privs is set in the weaker runtime: commands run as root by `user`, not by sudo',
  },
})
