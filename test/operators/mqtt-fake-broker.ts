import { createServer, type Socket } from 'node:net';
import mqttPacket, { type IConnackPacket, type IConnectPacket, type IPublishPacket, type Packet } from 'mqtt-packet';
import { until } from '../conformance/harness.ts';

/** One connection of a client, with all that it has sent. */
export class FakeConnection {
  readonly received: Packet[] = [];
  readonly socket: Socket;
  readonly version: 4 | 5;
  closed = false;
  constructor(socket: Socket, version: 4 | 5) {
    this.socket = socket;
    this.version = version;
  }

  send(packet: Packet): void {
    this.socket.write(mqttPacket.generate(packet, { protocolVersion: this.version }));
  }

  publish(messageId: number, payload: string | Buffer, more: Partial<IPublishPacket> = {}): void {
    const packet = { cmd: 'publish', topic: 'generators/g1', qos: 1, retain: false, dup: false } as const;
    this.send({ ...packet, payload, messageId, ...more } as IPublishPacket);
  }

  /** Packet ids of what was received of one kind, in order. */
  ids(cmd: Packet['cmd']): (number | undefined)[] {
    return this.received.filter((packet) => packet.cmd === cmd).map(({ messageId }) => messageId);
  }
}

/** A broker that does as it is told: it answers connect, subscribe and ping, and leaves the rest to the test. */
export class FakeBroker {
  readonly connections: FakeConnection[] = [];
  connack: Partial<IConnackPacket> = {};
  /** Codes for the topics of a subscription; granted as asked when there is none. */
  granted: number[] | undefined;
  onPacket: (packet: Packet, connection: FakeConnection) => void = () => {};
  readonly #server = createServer((socket) => this.#accept(socket));

  static async start(): Promise<FakeBroker> {
    const broker = new FakeBroker();
    await new Promise<void>((resolve) => broker.#server.listen(0, '127.0.0.1', resolve));
    return broker;
  }

  get url(): string {
    return `mqtt://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** The n-th connection, once it has subscribed. */
  async subscribed(n = 1): Promise<FakeConnection> {
    await until(`${n} subscribed connections`, () => this.connections[n - 1]?.ids('subscribe').length === 1);
    return this.connections[n - 1]!;
  }

  async stop(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    const parser = mqttPacket.parser();
    let connection: FakeConnection | undefined;
    socket.on('data', (chunk) => parser.parse(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      if (connection) connection.closed = true;
    });
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connect') {
        connection = new FakeConnection(socket, (packet as IConnectPacket).protocolVersion as 4 | 5);
        this.connections.push(connection);
        connection.send({ cmd: 'connack', returnCode: 0, reasonCode: 0, sessionPresent: false, ...this.connack });
      }
      connection!.received.push(packet);
      if (packet.cmd === 'pingreq') connection!.send({ cmd: 'pingresp' });
      if (packet.cmd === 'subscribe') {
        const granted = this.granted ?? packet.subscriptions.map(({ qos }) => qos);
        connection!.send({ cmd: 'suback', messageId: packet.messageId!, granted });
      }
      this.onPacket(packet, connection!);
    });
  }
}
