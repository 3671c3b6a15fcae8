/**
 * The closed table of error codes: HTTP status, and whether the same call can help later.
 * The side that knows sets the code and it travels on the wire.
 */
export const errorCodes = {
  invalid_request: { status: 400, retryable: false, why: 'the request does not fit its schema' },
  unauthenticated: { status: 401, retryable: false, why: 'no key, or one that is not known' },
  forbidden: {
    status: 403,
    retryable: false,
    why: "the key lacks the scope, or the thing is another project's",
  },
  permission_denied: { status: 403, retryable: false, why: 'the user inside the sandbox may not do that' },
  not_found: { status: 404, retryable: false, why: 'no such thing, and no record that there ever was' },
  path_not_found: { status: 404, retryable: false, why: 'no such path inside the sandbox' },
  process_not_found: { status: 404, retryable: false, why: 'no such process, or forgotten after its end' },
  conflict: { status: 409, retryable: false, why: 'the same id or name stands for something else' },
  idempotency_conflict: { status: 409, retryable: false, why: 'the key was used with other parameters' },
  state_conflict: {
    status: 409,
    retryable: false,
    why: 'the sandbox is in a state in which that cannot be done',
  },
  path_exists: { status: 409, retryable: false, why: 'the target is there already' },
  not_a_file: { status: 409, retryable: false, why: 'the path is a directory or a special file' },
  not_a_directory: { status: 409, retryable: false, why: 'the path is no directory' },
  directory_not_empty: {
    status: 409,
    retryable: false,
    why: 'the directory has entries and recursive was not asked',
  },
  process_ended: { status: 409, retryable: false, why: 'the process has ended' },
  stdin_closed: { status: 409, retryable: false, why: 'nobody reads the standard input' },
  not_adopted: { status: 409, retryable: true, why: 'the guest has no identity yet' },
  in_use: { status: 409, retryable: false, why: 'something that lives still needs it' },
  sandbox_ended: { status: 410, retryable: false, why: 'the sandbox ended for a recorded cause' },
  precondition_failed: { status: 412, retryable: false, why: 'it changed in between' },
  payload_too_large: { status: 413, retryable: false, why: 'over a named limit' },
  range_not_satisfiable: { status: 416, retryable: false, why: 'the range starts behind the end' },
  exec_failed: { status: 422, retryable: false, why: 'the program could not be started' },
  hash_mismatch: {
    status: 422,
    retryable: false,
    why: 'the bytes are not those that were announced; nothing changed',
  },
  snapshot_invalid: {
    status: 422,
    retryable: false,
    why: 'a file of the snapshot is missing, damaged or foreign; nothing was changed',
  },
  snapshot_unfit: {
    status: 409,
    retryable: false,
    why: 'the snapshot is of another runtime version, CPU or agent; it was not tried',
  },
  build_failed: { status: 422, retryable: false, why: 'a step of a template build failed' },
  image_invalid: { status: 422, retryable: false, why: 'the archive or image is damaged or refused' },
  connection_refused: { status: 422, retryable: true, why: 'nobody listens on that port in the sandbox' },
  too_many_processes: { status: 429, retryable: true, why: 'the sandbox is at its limit of processes' },
  quota_exceeded: { status: 429, retryable: true, why: 'the project is at its quota' },
  rate_limited: { status: 429, retryable: true, why: 'too many requests' },
  canceled: { status: 499, retryable: true, why: 'the caller went away' },
  internal: { status: 500, retryable: true, why: 'a fault of ours' },
  unsupported: { status: 501, retryable: false, why: 'the runtime in force cannot do that' },
  stream_broken: { status: 502, retryable: true, why: 'a stream ended without its end' },
  runtime_unavailable: {
    status: 503,
    retryable: false,
    why: 'the host cannot provide the runtime that was asked',
  },
  guest_unreachable: { status: 503, retryable: true, why: 'the guest agent does not answer' },
  node_unreachable: { status: 503, retryable: true, why: 'the node does not answer' },
  overloaded: { status: 503, retryable: true, why: 'a queue with a limit is full' },
  deadline_client: { status: 504, retryable: true, why: "the client's own deadline passed" },
  deadline_node: {
    status: 504,
    retryable: true,
    why: "the node's deadline passed before the guest answered",
  },
  deadline_guest: { status: 504, retryable: true, why: "the guest's deadline passed" },
  disk_full: { status: 507, retryable: false, why: "the sandbox's disk is full" },
  host_disk_full: { status: 507, retryable: true, why: "the data folder's disk is full" },
  out_of_memory: { status: 507, retryable: false, why: "the sandbox's memory is used up" },
} as const satisfies Record<string, { status: number; retryable: boolean; why: string }>

/** A code of the closed table. */
export type ErrorCode = keyof typeof errorCodes

/** True for a code of the table: what came over a wire may be anything. */
export const isErrorCode = (code: unknown): code is ErrorCode =>
  typeof code === 'string' && Object.hasOwn(errorCodes, code)
