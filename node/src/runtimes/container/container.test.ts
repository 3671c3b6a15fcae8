import { testHost } from '../../host/test-host.ts'
import { cases, conformance } from '../conformance.ts'
import { containerDriver } from './driver.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/crun', cgroupParent: 'atoll-test' }

const memory = "the memory of processes on the host's own kernel cannot be saved soundly; it says so"

conformance('container', () => containerDriver(common), {
  imagePath,
  skipAll: skip,
  skip: Object.fromEntries(Object.keys(cases['memory'] ?? {}).map((name) => [name, memory])),
})
