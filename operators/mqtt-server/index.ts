import { compileTopic, defineSource, Type } from '../../src/operator.ts';
import { checkServer, type ServerOptions, serverOptions } from './options.ts';
import { compileRoutes, parseRouteList, type RouteOption } from './routes.ts';
import { openServer } from './source.ts';

/**
 * Lets devices connect by MQTT 3.1.1. Their messages go into a journal on disk and are acknowledged once they are durable there; a run
 * resumes from the journal. What one client does wrong ends that client's connection and nothing else.
 */
export const mqttServerSource = defineSource({
  name: 'mqttServer',
  summary: 'Is an MQTT broker that devices connect to, and takes in what they publish.',
  details:
    'It stands in place of a broker with a bridge behind it, such as the Confluent MQTT Proxy. What a device publishes goes into a journal on disk; QoS 1 and 2 are acknowledged (PUBACK, PUBREC) once the message ' +
    'is durable there: what a device was told is taken is never lost, also when the process is killed. One whose acknowledgement did not get through comes again: at least once; a QoS 2 message is taken once as long as this process lives. ' +
    'QoS 0 goes into the journal too. Clients that subscribe get what others publish, and what an `mqtt` sink with the address of this door does: that is the way down to the devices. Name its topics in `passOn`, so that they do not come in as records.\n\n' +
    'While the journal (`journal.maxBytes`) or the disk is full, nothing is read from clients but their pings, which are answered; after two seconds QoS 0 messages are dropped, and counted. ' +
    'What is over a limit is refused or hung up on; a log line says so once a minute for each client and reason, and the counters of the status say how often. Other clients do not notice.\n\n' +
    'MQTT 3.1.1 (and 3.1) is spoken; a client that begins with MQTT 5 is told so (CONNACK, reason 0x84) and has to come back with 3.1.1. Sessions, retained messages and messages that wait for clients which are away live in memory: ' +
    'they end with the process, and devices connect and subscribe anew. Topics that begin with `$` are refused, a topic with a wildcard in it ends the connection, and so does one that `rules` do not allow; such a subscription is refused (SUBACK 0x80). ' +
    'A client id belongs to the user who connected with it, as long as its connection or session lasts.\n\n' +
    'A level in braces in `topics`, as in `emergency_generators/{generatorID}`, sets that field of the record. `routes` name a topic by regular expressions, each of which has to match all of it, and the first that does counts: a Kafka sink takes it as `topic: "{meta.route}"`. ' +
    'A message that none of `topics` or of `routes` matches is acknowledged and rejected (`topic-unknown`).\n\n' +
    'A user file holds one line for each user, `name:$scrypt$ln=14,r=8,p=1$<salt>$<hash>` with salt (16 bytes) and hash (32 bytes) in base64 without padding; `penstock mqtt-user add <file> <name>` writes it. It is read again within seconds ' +
    'when it changes, and who is not in it any more, or has another password, is hung up on. A client certificate stands for the user of its common name.\n\n' +
    'The stream of `presence` gets objects with `event`, `at` (ms), `clientId`, `username`, `address`, `listener`; `disconnected` has a `reason` (`disconnect`: the client said good-bye; `lost`, `keepAliveMissed`, `takenOver`, `userChanged`, `shutdown`, or why it was hung up on), ' +
    '`lastWill` the `topic` of the will, which is published and taken in as any message is. `keepAliveMissed` comes before the `disconnected` of the same client; `serverStarted` says that whoever was connected before is not any more. They are durable as messages are, and in order with them.\n\n' +
    'Each connection takes a file descriptor: for 10,000 of them raise the limit (`ulimit -n`).',
  options: Type.Object(serverOptions),
  shorthand: 'listen',
  times: ['arrival'],
  check: (options, check) => checkServer(options as ServerOptions, check),
  captures(options, topic) {
    const { routes, topics } = options as ServerOptions;
    if (routes !== undefined && nameOf(routes, topic) === undefined) return undefined;
    if (topics === undefined) return {};
    return [topics]
      .flat()
      .map((pattern) => compileTopic(pattern).match(topic))
      .find((captured) => captured !== undefined);
  },
  route: ({ routes }, topic) => nameOf((routes ?? []) as RouteOption[], topic),
  open: (options, context) => openServer(options as ServerOptions, context),
  examples: [
    {
      title: 'Generators connect on this machine, and their name is taken from the topic',
      options: { listen: 'mqtt://127.0.0.1:1883', topics: 'emergency_generators/{generatorID}', time: 'arrival' },
    },
    {
      title: 'Over TLS from other machines, each device with its own topics, in place of an MQTT Proxy',
      options: {
        listen: ['mqtts://0.0.0.0:8883'],
        tls: { cert: './server.pem', key: './server.key' },
        users: './devices.users',
        rules: [
          { publish: 'emergency_generators/{username}', subscribe: 'commands/{username}/#' },
          { user: 'penstock', publish: 'commands/#' },
        ],
        passOn: 'commands/#',
        routes: 'emergency_generators:emergency_generators/.*',
      },
    },
  ],
});

function nameOf(routes: string | RouteOption[], topic: string): string | undefined {
  const read = typeof routes === 'string' ? parseRouteList(routes) : routes;
  return 'message' in read ? undefined : compileRoutes(read)(topic);
}
