import { connect } from 'node:net';
import type { Admin } from 'kafkajs';
import { patiently } from './wait.ts';

const leaveGroup = 13;

/** The members of a consumer group, and whether the group has settled. */
export async function groupOf(admin: Admin, group: string): Promise<{ members: string[]; state: string }> {
  const { groups } = await patiently(() => admin.describeGroups([group]));
  const [found] = groups;
  return { members: found?.members.map(({ memberId }) => memberId) ?? [], state: found?.state ?? 'Dead' };
}

/**
 * Tells the coordinator that the members of a group are gone. A process that was killed cannot say so itself, and its successor would
 * get nothing before its session is over: rounds would be made of waiting.
 */
export async function dismiss(admin: Admin, group: string): Promise<void> {
  const { members } = await groupOf(admin, group);
  const { brokers } = await admin.describeCluster();
  for (const { host, port } of brokers)
    for (const member of members) await patiently(() => leave(host, port, group, member));
}

// LeaveGroup, version 0; kafkajs has it for its own members only.
function leave(host: string, port: number, group: string, member: string): Promise<void> {
  const text = (value: string) => {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(2);
    length.writeInt16BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  const head = Buffer.alloc(12);
  const body = [text('chaos'), text(group), text(member)];
  head.writeInt32BE(8 + body.reduce((sum, { length }) => sum + length, 0), 0);
  head.writeInt16BE(leaveGroup, 4);
  head.writeInt16BE(0, 6);
  head.writeInt32BE(1, 8);
  return new Promise((resolve, reject) => {
    const socket = connect(port, host, () => socket.write(Buffer.concat([head, ...body])));
    const answer: Buffer[] = [];
    socket.setTimeout(10_000, () => socket.destroy(new Error(`No answer from ${host}:${port} to LeaveGroup.`)));
    socket.once('error', reject);
    socket.on('data', (data: Buffer) => {
      answer.push(data);
      const all = Buffer.concat(answer);
      if (all.length < 10) return;
      socket.destroy();
      // 16: another broker has this group; 25: it is gone already.
      const code = all.readInt16BE(8);
      if ([0, 16, 25].includes(code)) resolve();
      // 14, 15: the coordinator is not ready.
      else
        reject(
          Object.assign(new Error(`LeaveGroup was answered with error ${code}.`), {
            retriable: code === 14 || code === 15,
          }),
        );
    });
  });
}
