/**
 * Says why a broker's refusal of a connection is final, and what to do; `undefined` for one that may pass, such as a busy
 * broker. Codes below 128 are of MQTT 3.1.1, the others of MQTT 5.
 */
export function refusal(code: number, username: string | undefined, clientId: string): string | undefined {
  const who = username === undefined ? 'a client without a user name' : `the user \`${username}\``;
  switch (code) {
    case 1:
    case 0x84:
      return 'the broker does not speak this version of MQTT. Set the other `protocolVersion`: 4 or 5.';
    case 2:
    case 0x85:
      return `the broker does not accept the client id \`${clientId}\`. Set a \`clientId\`; some brokers want 1 to 23 letters and digits.`;
    case 4:
    case 0x86:
      return `the broker refused ${who}: bad user name or password. Check \`username\` and \`password\`.`;
    case 5:
    case 0x87:
      return `the broker refused ${who}: not authorized. Check \`username\`, \`password\` and the rights at the broker.`;
    case 0x8a:
      return `the broker has banned ${who}.`;
    case 0x8c:
      return 'the broker wants another method of authentication than user name and password.';
    default:
      return undefined;
  }
}
