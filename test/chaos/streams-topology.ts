import type { Delivery } from './topology.ts';

/** The topics of the judge, by the form of the application. */
export function streamsTopics(complex: boolean): string[] {
  const simple = ['data', 'echo', 'min', 'sum'];
  return complex ? [...simple, 'repartition', 'max', 'cnt'] : simple;
}

/** What the judge expects of an application: names of group and topics are its own. */
export function streamsTopology(brokers: string, complex: boolean, delivery: Delivery): string {
  const exactly = 'state: { store: kafka, every: 300ms }\ndelivery: exactlyOnce\n';
  const sink = (topic: string) => `kafka: { brokers: "${brokers}", topic: ${topic} }`;
  const folded = (topic: string, from: string) =>
    `  ${topic}: [{ from: ${from} }, { id: ${topic}-fold, fold: ${topic} }, { ${sink(topic)} }]\n`;
  const numbers = (name: string, from: string) => `  ${name}: [{ from: ${from} }, { decode: }, { keyBy: key }]\n`;
  const second = `  again: [{ from: input }, { filter: 'meta.topic == "repartition"' }]
  repartition: [{ from: data }, { ${sink('repartition')} }]
${numbers('repeated', 'again')}${folded('max', 'repeated')}${folded('cnt', 'repeated')}`;
  return `version: 1
name: EosTest
${delivery === 'exactlyOnce' ? exactly : ''}otherwise: rejected
streams:
  input:
    - kafka:
        brokers: "${brokers}"
        topics: [${complex ? 'data, repartition' : 'data'}]
        group: EosTest
        start: earliest
        keyedBy: key
        format: bytes
  data: [{ from: input }, { filter: 'meta.topic == "data"' }]
  echo: [{ from: data }, { ${sink('echo')} }]
${numbers('numbers', 'data')}${folded('min', 'numbers')}${folded('sum', 'numbers')}${complex ? second : ''}  rejected: [{ ${sink('rejected')} }]
`;
}
