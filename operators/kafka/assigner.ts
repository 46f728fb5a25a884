/** Partitions by topic. */
export type Owned = Readonly<Record<string, readonly number[]>>;

/** What a member of the group says as it joins: what it has, and what it reads. */
export interface Claim {
  readonly owned: Owned;
  readonly topics: readonly string[];
}

/**
 * Shares partitions out among members that may read different topics, as those do that have not all seen a new topic yet: each topic
 * goes to those who read it, and to nobody if there is none.
 */
export function shareBySubscription(
  members: ReadonlyMap<string, Claim>,
  topics: readonly { readonly topic: string; readonly partitions: readonly number[] }[],
): Map<string, Record<string, number[]>> {
  const shares = new Map<string, Record<string, number[]>>([...members.keys()].map((id) => [id, {}]));
  const bySet = new Map<string, (typeof topics)[number][]>();
  for (const one of topics) {
    const set = JSON.stringify([...members].flatMap(([id, claim]) => (claim.topics.includes(one.topic) ? [id] : [])));
    bySet.set(set, [...(bySet.get(set) ?? []), one]);
  }
  for (const [set, some] of bySet) {
    const readers = (JSON.parse(set) as string[]).map((id) => [id, members.get(id)!.owned] as const);
    if (readers.length === 0) continue;
    for (const [id, share] of shareOut(new Map(readers), some)) Object.assign(shares.get(id)!, share);
  }
  return shares;
}

/**
 * Shares partitions out so that each member keeps what it has, as far as an even share allows: state and caches stay where
 * they are when a member comes or goes. Shares differ by at most one. The same input gives the same answer in every process.
 */
export function shareOut(
  members: ReadonlyMap<string, Owned>,
  topics: readonly { readonly topic: string; readonly partitions: readonly number[] }[],
): Map<string, Record<string, number[]>> {
  const free = new Set<string>();
  for (const { topic, partitions } of topics) for (const partition of partitions) free.add(`${partition}/${topic}`);
  const ids = [...members.keys()].sort();
  const least = Math.floor(free.size / ids.length);
  let extras = free.size % ids.length;
  const shares = new Map<string, string[]>();
  // Whoever holds more comes first, so that the shares that are one larger go where the least has to move.
  const bySize = [...ids].sort((a, b) => count(members.get(b)!) - count(members.get(a)!));
  for (const id of bySize) {
    const share: string[] = [];
    const most = extras > 0 ? least + 1 : least;
    for (const name of namesOf(members.get(id)!)) {
      // A name that is not free belongs to somebody else by now, or to a topic that is gone.
      if (share.length < most && free.delete(name)) share.push(name);
    }
    if (share.length > least) extras--;
    shares.set(id, share);
  }
  const rest = [...free].sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1));
  for (const id of ids) {
    const share = shares.get(id)!;
    while (share.length < least) share.push(rest.shift()!);
  }
  for (const id of ids) {
    const share = shares.get(id)!;
    if (share.length === least && rest.length > 0) share.push(rest.shift()!);
  }
  return new Map(ids.map((id) => [id, byTopic(shares.get(id)!)]));
}

function count(owned: Owned): number {
  return namesOf(owned).length;
}

function namesOf(owned: Owned): string[] {
  return Object.entries(owned).flatMap(([topic, partitions]) => partitions.map((partition) => `${partition}/${topic}`));
}

function byTopic(names: readonly string[]): Record<string, number[]> {
  const assignment: Record<string, number[]> = {};
  for (const name of names) {
    const slash = name.indexOf('/');
    const topic = name.slice(slash + 1);
    assignment[topic] = [...(assignment[topic] ?? []), Number(name.slice(0, slash))];
  }
  return assignment;
}
