// npm's acme-client as its users' programs call it, for old-clients.sh:
//   acme-client.js obtain OUT NAME…     by http-01 from the folder CHALLENGES: OUT.full.pem and OUT.key
//   acme-client.js revoke CERT REASON   by the account
// DIRECTORY is the ACME directory, KEY the file of the account's key; NODE_EXTRA_CA_CERTS is the root, NODE_PATH has the package.
const fs = require('fs');
const path = require('path');
const acme = require('acme-client');

const { DIRECTORY, KEY, CHALLENGES } = process.env;

async function accountKey() {
  if (!fs.existsSync(KEY)) fs.writeFileSync(KEY, await acme.crypto.createPrivateEcdsaKey());
  return fs.readFileSync(KEY);
}

async function obtain(client, out, names) {
  const [key, csr] = await acme.crypto.createCsr({ commonName: names[0], altNames: names });
  const file = (challenge) => path.join(CHALLENGES, challenge.token);
  const certificate = await client.auto({
    csr,
    email: 'ops@chancery.test',
    termsOfServiceAgreed: true,
    // it would look the names up by the system's DNS
    skipChallengeVerification: true,
    challengePriority: ['http-01'],
    challengeCreateFn: async (_, challenge, answer) => fs.writeFileSync(file(challenge), answer),
    challengeRemoveFn: async (_, challenge) => fs.unlinkSync(file(challenge)),
  });
  fs.writeFileSync(`${out}.key`, key);
  fs.writeFileSync(`${out}.full.pem`, certificate);
}

async function revoke(client, certificate, reason) {
  await client.createAccount({ termsOfServiceAgreed: true });
  await client.revokeCertificate(fs.readFileSync(certificate), { reason: Number(reason) });
}

async function main([command, first, ...rest]) {
  const client = new acme.Client({ directoryUrl: DIRECTORY, accountKey: await accountKey(), backoffMin: 300, backoffMax: 1000 });
  if (command === 'obtain') return obtain(client, first, rest);
  if (command === 'revoke') return revoke(client, first, ...rest);
  throw new Error('acme-client.js obtain OUT NAME… | revoke CERT REASON');
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
