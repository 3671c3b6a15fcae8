/** Version of what is simulated, for records. */
export const simulatedVersion = 'simulated 2'
