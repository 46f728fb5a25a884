import { createServer, type Server } from 'node:net';
import { RunError } from '../errors.ts';

export interface Broker {
  readonly url: string;
  /** Hangs up on all clients and ends. */
  close(): Promise<void>;
}

const clientsMax = 1_000;
const payloadMax = 16 << 20;

/**
 * Starts a small MQTT broker (3.1.1) in this process, for `dev`: it keeps all in memory, asks nobody for a password, and is
 * therefore reachable from this machine only. Port 0 takes any free one.
 */
export async function startBroker({ host = '127.0.0.1', port = 0 } = {}): Promise<Broker> {
  if (host !== '127.0.0.1' && host !== '::1') {
    throw new RunError(
      `The broker of \`dev\` asks for no password, so it listens on 127.0.0.1 or ::1 only, not on ${host}.`,
    );
  }
  const { Aedes } = await import('aedes');
  const aedes = await Aedes.createBroker({
    maxClientsIdLength: 256,
    authorizePublish(_client, packet, done) {
      done(packet.payload.length > payloadMax ? new Error(`A payload has at most ${payloadMax} bytes here.`) : null);
    },
  });
  // A client that sends nonsense is hung up on; that is no trouble of ours.
  aedes.on('clientError', () => {});
  aedes.on('connectionError', () => {});
  const server = createServer((socket) => void aedes.handle(socket));
  server.maxConnections = clientsMax;
  try {
    await listen(server, host, port);
  } catch (error) {
    await new Promise<void>((resolve) => aedes.close(resolve));
    throw new RunError(
      `The broker of \`dev\` cannot listen on ${host}:${port}: ${(error as Error).message}. Is another one running there?`,
      { cause: error },
    );
  }
  const address = server.address() as { port: number };
  return {
    url: `mqtt://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await new Promise<void>((resolve) => aedes.close(resolve));
      await closed;
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}
