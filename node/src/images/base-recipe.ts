import type { ImageConfig } from '@atoll/protocol'
import { randomnessCustomization } from './base-randomness.ts'

/** Debian release of `base`. */
export const baseSuite = 'bookworm'

/** Defaults of sandboxes made from `base`. */
export const baseConfig: ImageConfig = {
  env: {
    LANG: 'C.UTF-8',
    PATH: '/home/user/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  },
  user: 'user',
  workdir: '/home/user',
  start: null,
  ready: null,
}

/**
 * What `base` has over Debian's `minbase`. npm is left out: Debian's pulls in over 400 packages.
 * python3-munkres stands for python3-scipy in fonttools' dependencies; scipy would add 500 MB (boost, openblas-dev).
 */
export const basePackages = [
  'ca-certificates',
  'curl',
  'git',
  'sudo',
  'procps',
  'iproute2',
  'netbase',
  'less',
  'file',
  'jq',
  'ripgrep',
  'unzip',
  'zip',
  'xz-utils',
  'build-essential',
  'nodejs',
  'python3',
  'python3-pip',
  'python3-venv',
  'python-is-python3',
  'python3-numpy',
  'python3-pandas',
  'python3-matplotlib',
  'python3-munkres',
] as const

/** Documentation stays out, licences stay in. */
export const basePathFilters = [
  'path-exclude=/usr/share/man/*',
  'path-exclude=/usr/share/info/*',
  'path-exclude=/usr/share/locale/*',
  'path-exclude=/usr/share/lintian/*',
  'path-exclude=/usr/share/doc/*',
  'path-include=/usr/share/doc/*/copyright',
] as const

/**
 * Runs with the root as $1 after the packages are in. The libraries' own tests go here and not by path-exclude,
 * because py3compile fails over files that the package lists and dpkg left out. EXTERNALLY-MANAGED goes
 * so that `pip install` works: a sandbox is nobody's system. matplotlib's font list is made once, here: it takes
 * seconds, and every sandbox would make it again.
 */
export const baseCustomization = `set -eu
chroot "$1" useradd --create-home --user-group --uid 1000 --shell /bin/bash user
printf 'user ALL=(ALL:ALL) NOPASSWD:ALL\\n' > "$1/etc/sudoers.d/user"
chmod 0440 "$1/etc/sudoers.d/user"
rm -f "$1/usr/lib/python3.11/EXTERNALLY-MANAGED"
find "$1/usr/lib/python3/dist-packages" -depth -type d -name tests -exec rm -rf {} +
rm -f "$1/usr/bin/x86_64-linux-gnu-lto-dump-12" "$1/etc/passwd-" "$1/etc/group-" "$1/etc/shadow-" "$1/etc/gshadow-"
chroot "$1" runuser -u user -- env HOME=/home/user python3 -c 'import matplotlib.font_manager'
${randomnessCustomization}
printf 'sandbox\\n' > "$1/etc/hostname"
printf '127.0.0.1 localhost\\n::1 localhost\\n' > "$1/etc/hosts"
: > "$1/etc/resolv.conf"
: > "$1/etc/machine-id"
find "$1/var/log" -type f -delete
`
