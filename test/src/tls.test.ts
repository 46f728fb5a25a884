import { describe, expect, test } from 'vitest';
import { RunError } from '../../src/errors.ts';
import { MemoryDisk } from '../../src/ports/memory.ts';
import { readTlsFiles, tlsRefusal } from '../../src/ports/tls.ts';

const openssl = (reason: string) =>
  `807C8A5C:error:0A000410:SSL routines:ssl3_read_bytes:${reason}:../ssl/record/rec_layer_s3.c:1601:SSL alert number 1\n`;

describe('why a TLS connection came to nothing', () => {
  test.each([
    ['CERT_HAS_EXPIRED', /certificate has expired/],
    ['CERT_NOT_YET_VALID', /not valid yet/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /no authority .*`ssl\.ca`/],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', /no authority .*`ssl\.ca`/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', /asks for a certificate of ours.*`ssl\.cert` and `ssl\.key`/],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', /asks for a certificate of ours/],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', /does not accept our certificate/],
    ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', /does not accept our certificate/],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', /no version of TLS/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /does not answer in TLS/],
  ])('%s', (code, expected) => {
    expect(tlsRefusal(Object.assign(new Error('x'), { code }), 'ssl')).toMatch(expected);
  });

  test.each([
    ['wrong version number', /does not answer in TLS/],
    ['sslv3 alert handshake failure', /asks for a certificate of ours/],
    ['tlsv1 alert unknown ca', /does not accept our certificate/],
    ['tlsv13 alert certificate required', /asks for a certificate of ours/],
  ])('`%s` that comes to light in a write', (reason, expected) => {
    const error = Object.assign(new Error(`write EPROTO ${openssl(reason)}`), { code: 'EPROTO' });
    expect(tlsRefusal(error, 'tls')).toMatch(expected);
  });

  test('a wrong name is told with the names that there are, and how to expect another where that can be set', () => {
    const message = "Hostname/IP does not match certificate's altnames: Host: a. is not in the cert's altnames: DNS:b";
    const error = Object.assign(new Error(message), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    const said =
      "its certificate is for another name (Host: a. is not in the cert's altnames: DNS:b). Use a name of the certificate in the address";
    expect(tlsRefusal(error, 'ssl')).toBe(`${said}.`);
    expect(tlsRefusal(error, 'tls', 'tls.servername')).toBe(`${said}, or write that name as \`tls.servername\`.`);
  });

  test.each(['ECONNRESET', 'ECONNREFUSED', 'ENOTFOUND', 'EPROTO', 'ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', undefined])(
    '%s may pass',
    (code) => {
      expect(tlsRefusal(Object.assign(new Error('read it'), { code }), 'tls')).toBeUndefined();
      expect(tlsRefusal({ code, message: openssl('tlsv1 alert internal error') }, 'tls')).toBeUndefined();
    },
  );
});

describe('files of TLS options', () => {
  const pem = (what: string) => `note\n-----BEGIN ${what}-----\nAAAA\n-----END ${what}-----\n`;
  async function diskWith(text: string) {
    const disk = new MemoryDisk();
    await disk.mkdir('/tls');
    const file = await disk.open('/tls/a.pem', 'w');
    await file.write(Buffer.from(text), 0);
    await file.close();
    return disk;
  }

  test.each([
    ['ca', 'CERTIFICATE'],
    ['ca', 'TRUSTED CERTIFICATE'],
    ['cert', 'CERTIFICATE'],
    ['key', 'PRIVATE KEY'],
    ['key', 'RSA PRIVATE KEY'],
  ])('%s with a %s is read', async (name, what) => {
    expect(await readTlsFiles({ [name]: '/tls/a.pem' }, 'tls', await diskWith(pem(what)))).toEqual({
      [name]: pem(what),
    });
  });

  test.each([
    ['ca', '', 'certificate'],
    ['ca', pem('PRIVATE KEY'), 'certificate'],
    ['cert', 'see -----BEGIN CERTIFICATE-----', 'certificate'],
    ['key', pem('CERTIFICATE'), 'private key'],
  ])('%s without what it should hold is refused by name, and not shown', async (name, text, what) => {
    const reading = readTlsFiles({ [name]: '/tls/a.pem' }, 'ssl', await diskWith(text));
    await expect(reading).rejects.toThrow(
      `\`ssl.${name}\` names the file /tls/a.pem, which holds no ${what} in PEM form.`,
    );
    await expect(reading).rejects.toBeInstanceOf(RunError);
    await expect(reading).rejects.not.toThrow('AAAA');
  });

  test('a file that is not there is named', async () => {
    await expect(readTlsFiles({ key: '/tls/b.pem' }, 'tls', await diskWith(''))).rejects.toThrow(
      /`tls\.key` names the file \/tls\/b\.pem, which cannot be read: /,
    );
  });
});
