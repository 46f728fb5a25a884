import { describe } from 'vitest';

/** Folder of the scripts that start real servers; the gate sets it up. */
export const servicesFolder =
  process.env['PENSTOCK_SERVICES'] ?? new URL('../../../shared/services', import.meta.url).pathname;

/** Variables of the real services. Without them the suite is skipped with the reason; in CI that is a failure. */
export function needs<Name extends string>(
  ...names: Name[]
): { describe: typeof describe | typeof describe.skip } & Record<Name, string> {
  const missing = names.filter((name) => !process.env[name]);
  if (missing.length > 0 && process.env['CI'])
    throw new Error(`CI needs ${missing.join(', ')}: start the services first.`);
  if (missing.length > 0)
    console.log(`Skipped: ${missing.join(', ')} not set; start the services and export their variables.`);
  const found = Object.fromEntries(names.map((name) => [name, process.env[name] ?? ''])) as Record<Name, string>;
  return { describe: missing.length > 0 ? describe.skip : describe, ...found };
}
