/**
 * OpenSSL keeps the state of its generator in the program's memory and renews it by pid and by time: two copies of
 * one restored process draw the same keys (docs/guides/fork-safe-randomness.md). An engine of one function asks
 * the kernel at each draw instead. It names libcrypto, since Python loads that where a plug-in cannot see it;
 * no headers are in the base, so it declares what it uses of OpenSSL 3.
 */
const engineSource = `#include <errno.h>
#include <stddef.h>
#include <sys/random.h>
typedef struct engine_st ENGINE;
typedef struct {
  int (*seed)(const void *, int);
  int (*bytes)(unsigned char *, int);
  void (*cleanup)(void);
  int (*add)(const void *, int, double);
  int (*pseudorand)(unsigned char *, int);
  int (*status)(void);
} RAND_METHOD;
int ENGINE_set_id(ENGINE *, const char *);
int ENGINE_set_name(ENGINE *, const char *);
int ENGINE_set_RAND(ENGINE *, const RAND_METHOD *);
static int bytes(unsigned char *at, int left) {
  while (left > 0) {
    ssize_t got = getrandom(at, left, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    at += got;
    left -= got;
  }
  return 1;
}
static int seed(const void *data, int count) { return 1; }
static int add(const void *data, int count, double entropy) { return 1; }
static int status(void) { return 1; }
static const RAND_METHOD method = {seed, bytes, NULL, add, bytes, status};
unsigned long v_check(unsigned long version) { return version >= 0x00030000 ? 0x00030000 : 0; }
int bind_engine(ENGINE *engine, const char *id, const void *functions) {
  return ENGINE_set_id(engine, "getrandom") && ENGINE_set_name(engine, "the kernel at each draw") &&
         ENGINE_set_RAND(engine, &method);
}
`

/** Debian's Node reads a name of its own at the top of the file. */
const opensslSections = `
[nodejs_init]
engines = engine_sect

[engine_sect]
getrandom = getrandom_sect

[getrandom_sect]
engine_id = getrandom
dynamic_path = /usr/lib/x86_64-linux-gnu/engines-3/getrandom.so
default_algorithms = RAND
init = 1
`

/**
 * For \`node --require\`: Node draws bytes for 128 UUIDs and for many integers in advance, which two copies would
 * share. Not in force by default, because loading crypto at each start costs 50 to 100 ms in gVisor.
 */
const nodePreload = `'use strict'
const crypto = require('node:crypto')
const { randomBytes, randomInt, randomUUID, webcrypto } = crypto
const fresh = (options) => randomUUID({ ...options, disableEntropyCache: true })
const span = 2 ** 48
const draw = (min, max) => {
  const range = max - min
  const limit = span - (span % range)
  for (;;) {
    const drawn = randomBytes(6).readUIntBE(0, 6)
    if (drawn < limit) return min + (drawn % range)
  }
}
crypto.randomUUID = fresh
Object.defineProperty(Object.getPrototypeOf(webcrypto), 'randomUUID', {
  value: function randomUUID() {
    return fresh()
  },
  writable: true,
  enumerable: true,
  configurable: true,
})
crypto.randomInt = (min, max, callback) => {
  if (max === undefined || typeof max === 'function') [min, max, callback] = [0, min, max]
  const inRange = Number.isSafeInteger(min) && Number.isSafeInteger(max) && max > min && max - min < span
  // Wrong arguments get Node's own error.
  if (!inRange || !['undefined', 'function'].includes(typeof callback)) return randomInt(min, max, callback)
  if (callback === undefined) return draw(min, max)
  process.nextTick(() => callback(undefined, draw(min, max)))
}
require('node:module').syncBuiltinESMExports()
`

/** Runs with the root as $1, after the compiler is in. */
export const randomnessCustomization = `
chroot "$1" gcc -Wall -O2 -shared -fPIC -o /usr/lib/x86_64-linux-gnu/engines-3/getrandom.so \\
  -x c - -x none /usr/lib/x86_64-linux-gnu/libcrypto.so.3 <<'SOURCE'
${engineSource}SOURCE
sed -i -e '1i nodejs_conf = nodejs_init' -e 's/^\\[openssl_init\\]$/[openssl_init]\\nengines = engine_sect/' \\
  "$1/etc/ssl/openssl.cnf"
cat >> "$1/etc/ssl/openssl.cnf" <<'SECTIONS'
${opensslSections}SECTIONS
chroot "$1" openssl engine getrandom
mkdir -p "$1/usr/lib/atoll" "$1/etc/atoll/hooks/restored.d"
cat > "$1/usr/lib/atoll/fork-safe.cjs" <<'PRELOAD'
${nodePreload}PRELOAD
`
