import { RunError } from '../errors.ts';
import type { ConnectOptions, Disk } from '../ports.ts';

/** Files that a connector's TLS options name, each in PEM form. */
export interface TlsFiles {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/**
 * Reads the files of TLS options; `option` is what the user calls them, such as `tls`. Rejects with a RunError for a file that
 * cannot be read, and for one that does not hold what it should: TLS would take it for an empty list of authorities.
 */
export async function readTlsFiles(
  files: TlsFiles,
  option: string,
  disk: Disk,
): Promise<NonNullable<ConnectOptions['tls']>> {
  const tls: NonNullable<ConnectOptions['tls']> = {};
  for (const name of ['ca', 'cert', 'key'] as const) {
    const file = files[name];
    if (file === undefined) continue;
    const named = `\`${option}.${name}\` names the file ${file}, which`;
    let text: string;
    try {
      text = (await disk.readFile(file)).toString('latin1');
    } catch (error) {
      throw new RunError(`${named} cannot be read: ${(error as Error).message}. Check the path and the rights.`, {
        cause: error,
      });
    }
    const what = name === 'key' ? 'PRIVATE KEY' : 'CERTIFICATE';
    if (!new RegExp(`^-----BEGIN [A-Z ]*${what}-----`, 'm').test(text)) {
      const noun = name === 'key' ? 'private key' : 'certificate';
      throw new RunError(`${named} holds no ${noun} in PEM form. It needs a line \`-----BEGIN ${what}-----\`.`);
    }
    tls[name] = text;
  }
  return tls;
}

/**
 * Says why a TLS connection came to nothing, and what to do, as the end of a sentence about the server. `undefined` for trouble
 * that may pass by itself. `option` is what the user calls the TLS options, `servername` the one that sets the expected name.
 */
export function tlsRefusal(error: unknown, option: string, servername?: string): string | undefined {
  const { message = '', code } = error as { message?: string; code?: unknown };
  const reason = reasonOf(message, String(code));
  switch (reason) {
    case 'CERT_HAS_EXPIRED':
      return 'its certificate has expired. Renew it there, and check the clock here.';
    case 'CERT_NOT_YET_VALID':
      return 'its certificate is not valid yet. Check the clocks here and there.';
    case 'ERR_TLS_CERT_ALTNAME_INVALID': {
      const other = servername === undefined ? '' : `, or write that name as \`${servername}\``;
      const detail = message.replace(/^.*?altnames: /s, '').replace(/[.: ]*$/, '');
      return `its certificate is for another name (${detail}). Use a name of the certificate in the address${other}.`;
    }
  }
  if (untrusted.has(reason)) {
    return `no authority that is trusted here has signed its certificate (${reason}). Give the certificate of its authority as \`${option}.ca\`.`;
  }
  if (reason === 'CERTIFICATE_REQUIRED' || reason === 'HANDSHAKE_FAILURE') {
    return `it ended the handshake (${reason}), most likely because it asks for a certificate of ours. Give it as \`${option}.cert\` and \`${option}.key\`.`;
  }
  if (ourCertificate.has(reason)) {
    return `it does not accept our certificate (${reason}). Give one of an authority that it trusts as \`${option}.cert\` and \`${option}.key\`.`;
  }
  if (otherVersion.has(reason))
    return `it speaks no version of TLS that we do (${reason}). Let it speak TLS 1.2 or 1.3.`;
  if (noTls.has(reason)) return `it does not answer in TLS (${reason}). Check the port: it has to be one with TLS.`;
  return undefined;
}

// An error that comes to light while something is written has the code EPROTO, and its reason in the text alone.
function reasonOf(message: string, code: string): string {
  const [, text] = /:SSL routines:[^:]*:([^:]+):/.exec(message) ?? [];
  const reason = text === undefined ? code : text.trim().toUpperCase().replaceAll(' ', '_');
  return reason.replace(/^ERR_SSL_/, '').replace(/^(SSLV3|TLSV1|TLSV13)_ALERT_/, '');
}

const untrusted = new Set([
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'INVALID_CA',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

const ourCertificate = new Set([
  'ACCESS_DENIED',
  'BAD_CERTIFICATE',
  'CERTIFICATE_EXPIRED',
  'CERTIFICATE_REVOKED',
  'CERTIFICATE_UNKNOWN',
  'UNKNOWN_CA',
  'UNSUPPORTED_CERTIFICATE',
]);

const otherVersion = new Set(['PROTOCOL_VERSION', 'UNSUPPORTED_PROTOCOL']);

const noTls = new Set(['HTTP_REQUEST', 'PACKET_LENGTH_TOO_LONG', 'WRONG_VERSION_NUMBER']);
