export { AtollError } from '@atoll/protocol'
export type {
  Build,
  BuildEvent,
  BuildSource,
  CreatedKey,
  Entry,
  ErrorBody,
  ErrorCode,
  Exit,
  Holder,
  Isolation,
  Key,
  Lifecycle,
  Metrics,
  LeaseAction,
  NodeInfo,
  Port,
  PortAccess,
  PortLink,
  PauseDepth,
  Process,
  Project,
  Quota,
  Receipt,
  RuntimeName,
  Sandbox as SandboxInfo,
  SandboxEvent,
  SandboxLimits,
  SandboxState,
  Scope,
  Snapshot,
  SnapshotKind,
  Step,
  Template,
  Written,
} from '@atoll/protocol'
export type { Keys, Projects } from './access/keys.ts'
export { Atoll, type Sandboxes } from './atoll.ts'
export type { BodySource } from './connection/bytes.ts'
export type { CallOptions } from './connection/connection.ts'
export { isAtollError } from './connection/faults.ts'
export type { AtollOptions, WebSocketConstructor, WebSocketLike } from './connection/settings.ts'
export type { FileOptions, Files, Listing, WriteOptions } from './files/files.ts'
export type { ReadOptions } from './files/read.ts'
export type { WatchedChange, WatchOptions } from './files/watch.ts'
export type { Ports } from './ports/ports.ts'
export type { PortConnection } from './ports/tunnel.ts'
export type { Command, ProcessOptions } from './processes/command.ts'
export { ProcessHandle, type ProcessInput } from './processes/handle.ts'
export type { ProcessEvent } from './processes/output.ts'
export type { PtyOptions } from './processes/pty.ts'
export type { RunOptions, RunResult } from './processes/run.ts'
export type { StartOptions } from './processes/start.ts'
export type { Terminal, TerminalOptions } from './processes/terminal.ts'
export type { CreateOptions } from './sandboxes/create.ts'
export type { FollowEventsOptions } from './sandboxes/events.ts'
export type { ForkOptions } from './sandboxes/fork.ts'
export { type ForkOutcome, type PauseOptions, Sandbox } from './sandboxes/handle.ts'
export type { Hold, HoldOptions } from './sandboxes/hold.ts'
export type { ListFilter } from './sandboxes/list.ts'
export type { SnapshotFilter, SnapshotOptions, Snapshots } from './snapshots/snapshots.ts'
export { BuildHandle } from './templates/build.ts'
export type { BuildInput, Templates } from './templates/templates.ts'
