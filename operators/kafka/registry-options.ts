import { path, type Secret, secret, Type, type TypeCheck } from '../../src/operator.ts';

/** Where the schema registry is, and how to get in. */
export interface RegistryOptions {
  readonly url: string;
  readonly username?: string;
  readonly password?: Secret;
}

/** … and what a sink does there. */
export interface RegistryWriting extends RegistryOptions {
  readonly subject?: 'topic' | 'record' | 'topicRecord';
  readonly autoRegister?: boolean;
}

/** A file that holds a schema, by its kind. */
export interface SchemaFile {
  readonly avro?: string;
  readonly json?: string;
  readonly protobuf?: string;
}

const reading = {
  url: Type.String({
    description: 'Address of the registry, without what the Confluent API adds (`/subjects`, `/schemas`).',
    examples: ['http://127.0.0.1:8081'],
    minLength: 1,
  }),
  username: Type.Optional(Type.String({ description: 'User name.', minLength: 1 })),
  password: Type.Optional(secret({ description: 'Password.' })),
};

/** The option `registry` of the source. */
export const registryOption = Type.Object(reading, {
  additionalProperties: false,
  description:
    'Values were written with a schema registry (Confluent wire format): decoded as Avro, Protobuf or JSON, as the schema of each says.',
});

/** The option `registry` of the sink. */
export const registryWritingOption = Type.Object(
  {
    ...reading,
    subject: Type.Optional(
      Type.Enum(['topic', 'record', 'topicRecord'], {
        description:
          'The name that a schema is kept under: that of the topic with `-value` or `-key`, of the record (the `title` of a JSON Schema), or both.',
        default: 'topic',
      }),
    ),
    autoRegister: Type.Optional(
      Type.Boolean({
        description: 'Register a schema that is not there. Without, it has to be.',
        default: true,
      }),
    ),
  },
  { additionalProperties: false, description: 'The schema registry (Confluent API) that `value` and `keyAs` need.' },
);

/** An option that takes the file of a schema. */
export const schemaFileOption = (description: string) =>
  Type.Object(
    {
      avro: Type.Optional(path({ description: 'An Avro schema (`.avsc`).' })),
      json: Type.Optional(path({ description: 'A JSON Schema, draft-07.' })),
      protobuf: Type.Optional(path({ description: 'A Protobuf file; its first message is meant.' })),
    },
    { additionalProperties: false, minProperties: 1, maxProperties: 1, description },
  );

/** Reports an address that cannot be used or would show a password. */
export function checkRegistry(registry: RegistryOptions | undefined, check: TypeCheck): void {
  if (registry === undefined) return;
  const at = ['registry', 'url'];
  const url = URL.canParse(registry.url) ? new URL(registry.url) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    check.problem(at, `\`${registry.url}\` is no address of the web.`, 'Write it as `http://host:8081`.');
  } else if (url.username !== '' || url.password !== '') {
    check.problem(at, 'It holds a user name or a password, which would be printed.', 'Use `username` and `password`.');
  }
  if ((registry.username === undefined) !== (registry.password === undefined)) {
    check.problem(['registry'], 'Of `username` and `password` only one is given.', 'Give both, or neither.');
  }
}
