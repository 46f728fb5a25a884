import { vi } from 'vitest';
import { Exit } from '../../../src/cli/exit.ts';

/** How a command has ended, and what it wrote. */
export interface Captured {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command inside this process as the command line does. What is no `Exit` and was not foreseen is thrown on. */
export async function captured(command: () => Promise<void>): Promise<Captured> {
  const texts = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      texts[name] += String(text);
      return true;
    }),
  );
  try {
    await command();
    return { code: 0, ...texts };
  } catch (error) {
    if (!(error instanceof Exit)) throw error;
    return { code: error.exitCode, stdout: texts.stdout, stderr: texts.stderr + error.message };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
