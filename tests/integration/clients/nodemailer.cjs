// Sends by nodemailer over one connection.  Standard input: what to do, in JSON; standard output: the replies.
const fs = require("node:fs");
const nodemailer = require("nodemailer");

async function main() {
  const work = JSON.parse(fs.readFileSync(0, "utf8"));
  const transport = nodemailer.createTransport({
    host: work.host,
    port: work.port,
    secure: work.tls_first,
    requireTLS: true,
    auth: { user: work.username, pass: work.password },
    tls: work.authority ? { ca: fs.readFileSync(work.authority) } : {},
    pool: true,
    maxConnections: 1,
  });
  const envelope = { from: work.sender, to: work.recipients };
  const dsn = work.dsn && {
    id: work.dsn.envid,
    return: work.dsn.ret,
    notify: work.dsn.notify,
    recipient: work.dsn.orcpt.replace("rfc822;", ""),
  };
  const messages = work.compose
    ? [{ ...work.compose, attachments: [{ filename: "octets.bin", content: Buffer.from([...Array(256).keys()]) }] }]
    : work.messages.map((path) => ({ raw: fs.readFileSync(path) }));
  for (const message of messages) {
    const info = await transport.sendMail({ envelope, dsn, ...message });
    console.log(info.response, "to", info.accepted.join(" "), "not to", info.rejected.join(" "));
  }
  transport.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
