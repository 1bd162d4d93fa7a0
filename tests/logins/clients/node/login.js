// Logs in with ssh2: PORT USER key|password SECRET (a key's file, or the password). What went wrong is on stderr.
'use strict';

const { readFileSync } = require('node:fs');
const { Client } = require('ssh2');

const [port, username, how, secret] = process.argv.slice(2);
const credential = how === 'key' ? { privateKey: readFileSync(secret) } : { password: secret };
const client = new Client();
client.on('ready', () => client.end());
client.on('error', (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
client.connect({ host: '127.0.0.1', port: Number(port), username, ...credential });
