import type { Ending } from './lane.ts';

/** What happened to a client, as it stands in the journal and comes out of the stream that `presence` names. */
export interface Presence {
  /** `serverStarted`: whoever was connected before is not any more. */
  readonly event: 'connected' | 'disconnected' | 'keepAliveMissed' | 'lastWill' | 'serverStarted';
  readonly clientId?: string;
  /** The user that was proven by a password or a certificate. */
  readonly username?: string;
  /** ms since the epoch. */
  readonly at: number;
  /** Where the client connected from, with its port. */
  readonly address?: string;
  /** The address that it connected to, as in `listen`. */
  readonly listener?: string;
  /** `disconnected`: why. */
  readonly reason?: Ending;
  /** `lastWill`: where it was published. */
  readonly topic?: string;
}
