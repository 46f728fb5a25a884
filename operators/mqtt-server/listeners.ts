import { createServer as createHttpServer, type Server as HttpServer, type IncomingMessage } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { RunError } from '../../src/operator.ts';
import { certifiedName } from './admission.ts';
import type { Refusal } from './lane.ts';
import type { ListenAddress } from './options.ts';

/** How listeners take connections. */
export interface ListenerSetup {
  readonly tls: Pick<TlsOptions, 'cert' | 'key' | 'ca'>;
  readonly clientCertificates: 'none' | 'optional' | 'required';
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly maxPacket: number;
  readonly origins: readonly string[];
  onConnection(stream: Duplex, origin: { address: string; listener: string; certified: string | undefined }): void;
  onRefused(reason: Refusal, address: string): void;
}

/** A listener that is open, at the port it was given. */
export interface Listener {
  readonly url: string;
  /** Takes no more connections. */
  stop(): void;
  /** Hangs up on all that are left. */
  close(): Promise<void>;
}

const probeMs = 60_000;

/** Listens on one address. Rejects with a RunError when it cannot. */
export async function listen(address: ListenAddress, setup: ListenerSetup): Promise<Listener> {
  let url = address.url;
  const greet = (stream: Duplex, socket: Socket) => {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, probeMs);
    const from = `${socket.remoteAddress ?? ''}:${socket.remotePort ?? ''}`;
    setup.onConnection(stream, { address: from, listener: url, certified: certified(socket as TLSSocket) });
  };
  const server = await serverFor(address, setup, greet);
  const net: Server = server;
  net.maxConnections = setup.connections;
  const sockets = new Set<Socket>();
  net.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  net.on('drop', (data) => setup.onRefused('connections', data?.remoteAddress ?? ''));
  server.on('tlsClientError', (_error: Error, socket: Socket) => {
    setup.onRefused('tls', socket.remoteAddress ?? '');
    // After a handshake that takes too long nobody else does.
    socket.destroy();
  });
  try {
    await new Promise<void>((resolve, reject) => {
      net.once('error', reject);
      net.listen(address.port, address.host, () => {
        net.removeListener('error', reject);
        resolve();
      });
    });
  } catch (error) {
    throw new RunError(
      `Cannot listen on ${address.url}: ${(error as Error).message}. Is something else there, or may this user not use the port?`,
      { cause: error },
    );
  }
  url = address.at((net.address() as { port: number }).port);
  let closed: Promise<void> | undefined;
  const stop = () => {
    closed ??= new Promise<void>((resolve) => net.close(() => resolve()));
  };
  return {
    url,
    stop,
    close() {
      stop();
      for (const socket of sockets) socket.destroy();
      return closed!;
    },
  };
}

async function serverFor(
  { secure, webSocket, path }: ListenAddress,
  setup: ListenerSetup,
  greet: (stream: Duplex, socket: Socket) => void,
): Promise<Server | HttpServer> {
  const { clientCertificates, connectTimeoutMs } = setup;
  const tls: TlsOptions = {
    ...setup.tls,
    requestCert: clientCertificates !== 'none',
    rejectUnauthorized: clientCertificates === 'required',
    minVersion: 'TLSv1.2',
    handshakeTimeout: connectTimeoutMs,
  };
  if (!webSocket) {
    const plain = (socket: Socket) => greet(socket, socket);
    return secure ? tlsServer(tls, plain) : createServer(plain);
  }
  const times = {
    headersTimeout: connectTimeoutMs,
    requestTimeout: connectTimeoutMs,
    connectionsCheckingInterval: 1_000,
  };
  const http = secure ? httpsServer(tls, times) : createHttpServer(times);
  const { WebSocketServer, createWebSocketStream } = await import('ws');
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    // Packets and messages of a WebSocket need not begin together.
    maxPayload: setup.maxPacket + (64 << 10),
    handleProtocols: (offered) => ['mqtt', 'mqttv3.1'].find((name) => offered.has(name)) ?? false,
  });
  http.on('request', (_request, response) => {
    response.writeHead(426, { connection: 'close' });
    response.end('MQTT over WebSocket is spoken here.\n');
  });
  http.on('upgrade', (request, socket: Socket, head) => {
    socket.on('error', () => socket.destroy());
    const status = upgradeProblem(request, path, setup.origins);
    if (status !== undefined) {
      if (status === 403) setup.onRefused('origin', socket.remoteAddress ?? '');
      socket.end(`HTTP/1.1 ${status} ${status === 403 ? 'Forbidden' : 'Not Found'}\r\nConnection: close\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const stream = createWebSocketStream(webSocket, { allowHalfOpen: false });
      greet(stream, socket);
    });
  });
  return http;
}

function tlsServer(options: TlsOptions, onConnection: (socket: Socket) => void): Server {
  return withUsableCertificate(() => createTlsServer(options, onConnection));
}

function httpsServer(options: TlsOptions, times: object): HttpServer {
  return withUsableCertificate(() => createHttpsServer({ ...options, ...times }));
}

function withUsableCertificate<T>(create: () => T): T {
  try {
    return create();
  } catch (error) {
    throw new RunError(
      `\`tls.cert\` and \`tls.key\` cannot be used (${(error as Error).message}). They have to belong together, and the key must not need a passphrase.`,
      { cause: error },
    );
  }
}

/** A page from elsewhere that a browser on this machine has open must not speak for its user. */
function upgradeProblem(request: IncomingMessage, path: string, origins: readonly string[]): 403 | 404 | undefined {
  const { origin, host } = request.headers;
  const [asked] = (request.url ?? '/').split('?');
  if (path !== '/' && asked !== path) return 404;
  if (origin === undefined || origins.includes(origin)) return undefined;
  return URL.canParse(origin) && new URL(origin).host === host ? undefined : 403;
}

function certified(socket: TLSSocket): string | undefined {
  if (socket.encrypted !== true || !socket.authorized) return undefined;
  return certifiedName(socket.getPeerCertificate().subject?.CN);
}
