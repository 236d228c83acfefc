// Two people with matrix-js-sdk on two servers: they verify each other by emoji, one of them takes a new device and finds
// the other verified there, too, and the other one takes new keys, which is noticed.
//
// Arguments: the URL and the user id of one, those of the other, the password of both. Prints a line with a star for each
// thing that is done; then it waits for a line, between what can be looked at meanwhile.
import { createInterface } from "node:readline";
import {
    CryptoEvent,
    VerificationPhase,
    VerificationRequestEvent,
    VerifierEvent,
} from "matrix-js-sdk/lib/crypto-api/index.js";
import { done, logsIn, readMessage, tell, together, until, when, within, withPassword } from "./people.mjs";

const [hisUrl, alice, hersUrl, bob, password] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function reaches(request, phase) {
    while (request.phase !== phase) {
        await within(`phase ${phase} of the verification`, when(request, VerificationRequestEvent.Change, () => true));
    }
}

async function compares(verifier) {
    verifier.on(VerifierEvent.ShowSas, (sas) => sas.confirm());
    await within("the emoji", verifier.verify());
}

async function verifies(one, other, room) {
    const asked = when(other, CryptoEvent.VerificationRequestReceived, () => true);
    const outgoing = await one.getCrypto().requestVerificationDM(other.getUserId(), room);
    const [incoming] = await within("the request to verify", asked);
    await incoming.accept();
    await reaches(outgoing, VerificationPhase.Ready);
    const verifier = await outgoing.startVerification("m.sas.v1");
    await reaches(incoming, VerificationPhase.Started);
    await Promise.all([compares(verifier), compares(incoming.verifier)]);
}

async function sees(client, userId, wanted) {
    await until(`${client.getUserId()} sees ${wanted}`, async () => {
        await client.getCrypto().getUserDeviceInfo([userId], true);
        return wanted(await client.getCrypto().getUserVerificationStatus(userId));
    });
}

async function main() {
    const secret = { key: null, id: null };
    const one = await logsIn(hisUrl, alice, password, secret);
    const other = await logsIn(hersUrl, bob, password);
    for (const client of [one, other]) {
        await client.getCrypto().bootstrapCrossSigning({
            authUploadDeviceSigningKeys: withPassword(client.getUserId(), password),
        });
    }
    const recovery = await one.getCrypto().createRecoveryKeyFromPassphrase();
    await one.getCrypto().bootstrapSecretStorage({
        createSecretStorageKey: async () => recovery,
        setupNewSecretStorage: true,
    });
    const room = await together(one, other);
    await one.sendTextMessage(room, "shall we verify?");
    await readMessage(other, "shall we verify?");
    done("they talk");
    await verifies(one, other, room);
    for (const [client, userId] of [[one, bob], [other, alice]]) {
        await sees(client, userId, (status) => status.isCrossSigningVerified());
    }
    done("they have verified each other");
    await lines.next();

    const fresh = await logsIn(hisUrl, alice, password, { key: recovery.privateKey, id: secret.id });
    await fresh.getCrypto().userHasCrossSigningKeys(alice, true);
    await fresh.getCrypto().bootstrapCrossSigning({});
    await sees(fresh, bob, (status) => status.isCrossSigningVerified());
    done("a new device knows who is verified");
    await until("bob trusts the new device", async () => {
        await other.getCrypto().getUserDeviceInfo([alice], true);
        const device = await other.getCrypto().getDeviceVerificationStatus(alice, fresh.getDeviceId());
        return device?.crossSigningVerified;
    });
    done("bob trusts the new device");

    await other.getCrypto().bootstrapCrossSigning({
        setupNewCrossSigning: true,
        authUploadDeviceSigningKeys: withPassword(bob, password),
    });
    for (const client of [one, fresh]) {
        await until(`news of bob's keys`, async () => {
            const status = await client.getCrypto().getUserVerificationStatus(bob);
            return !status.isCrossSigningVerified() && status.wasCrossSigningVerified();
        });
    }
    done("new keys of bob are noticed");
    await verifies(other, one, room);
    await sees(one, bob, (status) => status.isCrossSigningVerified());
    await sees(fresh, bob, (status) => status.isCrossSigningVerified());
    done("they verify each other anew");
    for (const client of [one, other, fresh]) client.stopClient();
}

tell(main);
