// SPDX-License-Identifier: Apache-2.0
// uploads.js MODE FOLDER PORT: takes files by PUT and gives them back by GET; in mode "stateless" it answers from memory.
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");

const [mode, folder, port] = process.argv.slice(2);
const uploads = path.join(folder, "uploads");
const keeps = mode === "uploads";
if (keeps) fs.mkdirSync(uploads, { recursive: true });

const server = http.createServer((request, response) => {
	const file = path.join(uploads, path.basename(request.url) || "index");
	if (!keeps) return response.end("hello\n");
	if (request.method === "PUT") {
		return request.pipe(fs.createWriteStream(file)).on("finish", () => response.end("kept\n"));
	}
	fs.readFile(file, (problem, content) => {
		response.statusCode = problem ? 404 : 200;
		response.end(content || "");
	});
});
process.on("SIGTERM", () => process.exit(0));
server.listen(Number(port), "127.0.0.1");
