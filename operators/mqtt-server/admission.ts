import type { Lane, Refusal } from './lane.ts';
import type { Rules } from './rules.ts';
import type { Sessions } from './sessions.ts';
import { topicProblem } from './topic-problem.ts';
import { nameProblem, type PasswordCheck } from './users.ts';

/** What a client says of itself in CONNECT. */
export interface Introduction {
  /** As the broker calls it: its own name, or one that was made for it. */
  readonly clientId: string;
  /** As it was sent. */
  readonly givenId: string;
  readonly clean: boolean;
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
  readonly will: { readonly topic: string; readonly qos: number } | undefined;
}

/** Who may come in. */
export interface Admission {
  readonly passwords: PasswordCheck | undefined;
  readonly rules: Rules;
  readonly sessions: Sessions;
  readonly connectionsPerUser: number;
  /** Lanes of clients that are in, by client id. */
  readonly inside: ReadonlyMap<string, Lane>;
}

/** Return code of CONNACK for each refusal that has one. */
export const returnCodes: Partial<Record<Refusal, number>> = {
  clientId: 2,
  userConnections: 3,
  sessions: 3,
  busy: 3,
  password: 4,
  publishTopic: 5,
};

/** Lets a client in, and sets who it is on its lane; gives the reason when it does not. */
export async function admit(
  lane: Lane,
  introduction: Introduction,
  { passwords, rules, sessions, connectionsPerUser, inside }: Admission,
): Promise<Refusal | undefined> {
  const { clientId, givenId, clean, username, password, will } = introduction;
  lane.clientId = clientId;
  if (idProblem(givenId) || (givenId === '' && !clean)) return 'clientId';
  const user = await userOf(lane, username, password, passwords);
  if (typeof user === 'object') return user.refusal;
  lane.user = user;
  const owners = [sessions.owner(clientId), ownerOf(inside.get(clientId))];
  if (owners.some((owner) => owner !== undefined && owner !== (user ?? null))) return 'clientId';
  if (!clean && !sessions.hasRoom(clientId)) return 'sessions';
  if (user !== undefined && connectionsPerUser > 0) {
    let count = 0;
    for (const [id, other] of inside) if (other.user === user && id !== clientId) count++;
    if (count >= connectionsPerUser) return 'userConnections';
  }
  if (will) {
    const bad = will.qos > 2 || topicProblem(will.topic) || !rules.mayPublish(will.topic, { user, clientId });
    if (bad) return 'publishTopic';
  }
  return undefined;
}

const ownerOf = (lane: Lane | undefined) => (lane === undefined ? undefined : (lane.user ?? null));

/** The proven name of a client: that of its certificate, or of the user whose password it knows; nobody where there are no users. */
async function userOf(
  { origin: { certified } }: Lane,
  username: string | undefined,
  password: Buffer | undefined,
  passwords: PasswordCheck | undefined,
): Promise<string | undefined | { refusal: Refusal }> {
  if (certified !== undefined && (username === undefined || username === certified)) return certified;
  if (passwords === undefined) return certified === undefined ? undefined : { refusal: 'password' };
  if (username === undefined || password === undefined) return { refusal: 'password' };
  const right = await passwords.check(username, password);
  if (right === true) return username;
  return { refusal: right === 'busy' ? 'busy' : 'password' };
}

/** Names from outside come into topic rules, logs and records. The replacement character stands where the bytes were no UTF-8. */
function idProblem(clientId: string): boolean {
  return Buffer.byteLength(clientId) > 256 || /[\p{Cc}\p{Cs}\ufffd]/u.test(clientId);
}

/** The common name of a certificate, when it can be a user's name. */
export function certifiedName(name: unknown): string | undefined {
  return typeof name === 'string' && nameProblem(name) === undefined ? name : undefined;
}
