// What editors do with ssh2: PORT USER KEY FOLDER. It asserts for itself, and prints "done".
'use strict';

const assert = require('node:assert');
const { readFileSync } = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { promisify } = require('node:util');
const { Client } = require('ssh2');

const [port, username, key, folder] = process.argv.slice(2);
const client = new Client();

const run = (command, input) =>
  new Promise((resolve, reject) => {
    client.exec(command, (error, stream) => {
      if (error) return reject(error);
      let out = '';
      stream.on('data', (data) => (out += data));
      stream.stderr.resume();
      stream.on('close', (code, signal) => resolve({ out, code, signal }));
      stream.end(input);
    });
  });

const upper = (socket) => socket.on('data', (data) => socket.end(String(data).toUpperCase()));

const answered = (stream) =>
  new Promise((resolve, reject) => {
    let out = '';
    stream.on('data', (data) => (out += data));
    stream.on('end', () => stream.end());
    stream.on('close', () => resolve(out));
    stream.on('error', reject);
    stream.write('hello');
  });

async function forwards() {
  const listen = async (server, where) => {
    await new Promise((resolve) => server.listen(where, resolve));
    return server;
  };
  const tcp = await listen(net.createServer(upper), { port: 0, host: '127.0.0.1' });
  const out = promisify(client.forwardOut.bind(client));
  const toSocket = promisify(client.openssh_forwardOutStreamLocal.bind(client));
  const dial = async () => answered(await out('127.0.0.1', 1, '127.0.0.1', tcp.address().port));
  assert.deepStrictEqual(await Promise.all(Array.from({ length: 20 }, dial)), Array(20).fill('HELLO'));
  const later = path.join(folder, 'later');
  await assert.rejects(toSocket(later));
  const unix = await listen(net.createServer(upper), { path: later });
  const dialSocket = async () => answered(await toSocket(later));
  assert.deepStrictEqual(await Promise.all(Array.from({ length: 20 }, dialSocket)), Array(20).fill('HELLO'));
  tcp.close();
  unix.close();
}

async function main() {
  for (let number = 0; number < 30; number += 1) {
    assert.deepStrictEqual(await run(`echo ${number}; exit ${number}`), { out: `${number}\n`, code: number, signal: undefined });
  }
  assert.strictEqual((await run('cat', 'typed')).out, 'typed');
  assert.strictEqual((await run('kill -TERM $$')).signal, 'SIGTERM');
  const server = await run('nohup sleep 600 >/dev/null 2>&1 </dev/null & echo $!');
  assert.strictEqual((await run(`kill -0 ${server.out.trim()} && echo lives`)).out, 'lives\n');
  await run(`kill ${server.out.trim()}`);
  const sftp = await promisify(client.sftp.bind(client))();
  const call = (name, ...args) => promisify(sftp[name].bind(sftp))(...args);
  const local = path.join(folder, 'id');
  await call('fastPut', local, 'copy');
  await call('fastGet', 'copy', path.join(folder, 'back'));
  assert.deepStrictEqual(readFileSync(path.join(folder, 'back')), readFileSync(local));
  assert.ok((await call('readdir', '.')).some((entry) => entry.filename === 'copy'));
  await call('unlink', 'copy');
  await assert.rejects(call('stat', 'copy'));
  if (!process.env.PODGATE_TEST_KUBECONFIG) await forwards();
  client.end();
  console.log('done');
}

client.on('ready', () => main().catch((error) => { console.error(error); process.exit(1); }));
client.on('error', (error) => { console.error(error); process.exit(1); });
// Without this it dials sockets on OpenSSH's servers alone, by their version.
const strictVendor = false;
client.connect({ host: '127.0.0.1', port: Number(port), username, privateKey: readFileSync(key), strictVendor });
