/** Descriptors that the agent may hold whatever its sandbox may: sessions, logs and pipes of every process. */
export const agentOpenFiles = 4_096
