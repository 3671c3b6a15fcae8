/** One word that an attack came to (inside/probe.py), or several that are equally safe. */
export type Expected = string | readonly string[]

/** One attack on the kernel surface: what it does inside, and what it must come to on each runtime. */
export interface Attack {
  readonly name: string
  /** Body of a Python function, run by inside/probe.py. */
  readonly inside: string
  readonly gvisor: Expected
  readonly container: Expected
  /** Where root meets another refusal than the unprivileged user. */
  readonly root?: { readonly gvisor?: Expected; readonly container?: Expected }
  /**
   * The negative twin (run-attacks.ts): the same attack by root on the host with the sandbox removed, in `namespaces`
   * of its own or, where only the host's root gets that far and nothing is changed, as `host` root. It must come to
   * something that the container's row does not expect. Absent: `noTwin` says why.
   */
  readonly twin?: 'namespaces' | 'host'
  readonly noTwin?: string
  readonly why: string
}

/** True when what happened is one of what is expected. */
export const isExpected = (outcome: string, expected: Expected): boolean =>
  typeof expected === 'string' ? outcome === expected : expected.includes(outcome)

/** What an attack must come to for this runtime and user. */
export const expectedOf = (attack: Attack, runtime: 'gvisor' | 'container', asRoot: boolean): Expected =>
  (asRoot ? attack.root?.[runtime] : undefined) ?? attack[runtime]
