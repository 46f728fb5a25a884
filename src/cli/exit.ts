/** Exit codes, as Vector and the shells use them. */
export const exitCodes = {
  ok: 0,
  /** A run failed, or lint or a test found something. */
  failed: 1,
  usage: 2,
  /** The topology is not usable (EX_CONFIG). */
  config: 78,
  interrupted: 130,
  terminated: 143,
} as const;

/** Ends a command with an exit code and, for standard error, what to say. */
export class Exit extends Error {
  readonly exitCode: number;
  constructor(exitCode: number, message = '') {
    super(message);
    this.exitCode = exitCode;
  }
}
