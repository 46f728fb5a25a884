/** Work of this process so far, in ms of CPU: unlike the clock it stands still while others have the processor. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
