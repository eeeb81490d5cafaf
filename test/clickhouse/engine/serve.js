// SPDX-License-Identifier: Apache-2.0

// serve.js FOLDER answers as much of ClickHouse's HTTP interface as Spoor's collector uses, with ClickHouse's own engine (chdb),
// for tests: one statement at a time, settings from the URL, data of an INSERT from the body, errors with their code. It prints
// its port and ends when its input does.
'use strict';
const fs = require('fs');
const http = require('http');
const path = require('path');
const { Session } = require(require.resolve('chdb', { paths: [process.cwd()] }));

const folder = process.argv[2];
const db = new Session(path.join(folder, 'data'));
const notSettings = new Set(['query', 'database', 'default_format', 'query_id', 'wait_end_of_query', 'buffer_size', 'http_response_buffer_size']);
let last = Promise.resolve();
let number = 0;

async function run(statement, format) {
  const result = await db.queryAsync(statement, { format });
  return Buffer.from(result.bytes());
}

async function answer(url, body) {
  const settings = [];
  for (const [name, value] of url.searchParams) {
    if (!notSettings.has(name)) settings.push(`${name}='${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`);
  }
  const format = url.searchParams.get('default_format') || 'TabSeparated';
  // A server looks at the database first; the engine keeps the one of the statement before.
  await run('USE `' + (url.searchParams.get('database') || 'default') + '`', 'Null');
  const list = settings.join(', ');
  const insert = /^(INSERT INTO .*?) FORMAT (\w+)$/s.exec(url.searchParams.get('query') || '');
  if (insert) {
    const file = path.join(folder, `insert-${++number}`);
    fs.writeFileSync(file, body);
    try {
      return await run(`${insert[1]} FROM INFILE '${file}' COMPRESSION 'none' ${list && 'SETTINGS ' + list} FORMAT ${insert[2]}`, 'Null');
    } finally {
      fs.unlinkSync(file);
    }
  }
  const statement = body.toString();
  if (/^\s*(SELECT|WITH)\b/i.test(statement)) return run(statement + (list && ' SETTINGS ' + list), format);
  for (const setting of settings) await run(`SET ${setting}`, 'Null');
  return run(statement, format);
}

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    last = last.then(async () => {
      try {
        const result = await answer(new URL(request.url, 'http://engine'), Buffer.concat(parts));
        response.writeHead(200, { 'Content-Length': result.length });
        response.end(result);
      } catch (error) {
        const code = error.clickhouseCode || 0;
        response.writeHead(code === 62 ? 400 : 500, code ? { 'X-ClickHouse-Exception-Code': code } : {});
        response.end(String(error.message) + '\n');
      }
    });
  });
});
// With a port it is the same engine again, after it was killed.
server.listen(Number(process.argv[3] || 0), '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
