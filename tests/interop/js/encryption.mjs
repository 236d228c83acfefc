// A person with matrix-js-sdk: sets cross-signing, secret storage and a key backup up, talks in an encrypted room, and
// restores all of it on a new device that knows the recovery key only.
//
// Arguments: the server's URL, two user ids, the password of both. Prints a line with a star for each thing that is done.
import * as sdk from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { logger } from "matrix-js-sdk/lib/logger.js";

const [url, alice, bob, password] = process.argv.slice(2);
const PATIENCE_MS = 30_000;
logger.setLevel("silent");

function within(what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`this took too long: ${what}`)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function when(client, event, found) {
    return new Promise((resolve) => {
        const heard = (...what) => {
            if (found(...what)) {
                client.off(event, heard);
                resolve(what);
            }
        };
        client.on(event, heard);
    });
}

function until(what, isSo) {
    const asking = async () => {
        while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 100));
    };
    return within(what, asking());
}

function done(what) {
    console.log(`* ${what}`);
}

function check(truth, what) {
    if (!truth) throw new Error(`this is not so: ${what}`);
    done(what);
}

async function logsIn(userId, secret = { key: null, id: null }) {
    const identifier = { type: "m.id.user", user: userId };
    const login = await sdk.createClient({ baseUrl: url }).loginRequest({ type: "m.login.password", identifier, password });
    const client = sdk.createClient({
        baseUrl: url,
        userId,
        accessToken: login.access_token,
        deviceId: login.device_id,
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => {
                const id = secret.id ?? Object.keys(keys)[0];
                return secret.key === null || !(id in keys) ? null : [id, secret.key];
            },
            cacheSecretStorageKey: (id, _, key) => {
                secret.id = id;
                secret.key = key;
            },
        },
    });
    await client.initRustCrypto({ useIndexedDB: false });
    const ready = when(client, sdk.ClientEvent.Sync, (state) => state === "PREPARED");
    await client.startClient({ initialSyncLimit: 20 });
    await within(`the first sync of ${userId}`, ready);
    return client;
}

const withPassword = (userId) => (makeRequest) =>
    makeRequest({ type: "m.login.password", identifier: { type: "m.id.user", user: userId }, password });

function readMessage(client, text) {
    const isIt = (event) => event.getContent().body === text && !event.isDecryptionFailure();
    for (const room of client.getRooms()) {
        const found = room.getLiveTimeline().getEvents().find(isIt);
        if (found) return Promise.resolve([found]);
    }
    return within(`the message ${text}`, when(client, sdk.MatrixEventEvent.Decrypted, isIt));
}

async function main() {
    const secret = { key: null, id: null };
    const old = await logsIn(alice, secret);
    const other = await logsIn(bob);
    const crypto = old.getCrypto();
    for (const client of [old, other]) {
        await client.getCrypto().bootstrapCrossSigning({
            authUploadDeviceSigningKeys: withPassword(client.getUserId()),
        });
    }
    const recovery = await crypto.createRecoveryKeyFromPassphrase();
    const enabled = when(old, CryptoEvent.KeyBackupStatus, (isEnabled) => isEnabled);
    await crypto.bootstrapSecretStorage({
        createSecretStorageKey: async () => recovery,
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    check(await crypto.isCrossSigningReady(), "cross-signing is set up");
    check(await crypto.isSecretStorageReady(), "secret storage is set up");
    await within("the key backup", enabled);
    check((await crypto.getActiveSessionBackupVersion()) !== null, "a key backup is set up");

    const { room_id: room } = await old.createRoom({
        preset: "trusted_private_chat",
        invite: [bob],
        initial_state: [
            { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
        ],
    });
    await within("the invite", (async () => {
        if (other.getRoom(room) === null) await when(other, sdk.ClientEvent.Room, (each) => each.roomId === room);
    })());
    const joined = when(old, sdk.RoomMemberEvent.Membership, (_, member) => member.userId === bob && member.membership === "join");
    await other.joinRoom(room);
    await within("the join", joined);
    await old.sendTextMessage(room, "from alice");
    await readMessage(other, "from alice");
    done("bob reads what alice says");
    await other.sendTextMessage(room, "from bob");
    await readMessage(old, "from bob");
    done("alice reads what bob says");
    await until("the backup", async () => (await crypto.checkKeyBackupAndEnable())?.backupInfo.count >= 2);
    done("the backup holds both sessions");
    await old.logout(true);

    const fresh = await logsIn(alice, { key: recovery.privateKey, id: secret.id });
    const restored = fresh.getCrypto();
    check(await restored.userHasCrossSigningKeys(alice, true), "the new device finds the public keys");
    await restored.bootstrapCrossSigning({});
    await restored.loadSessionBackupPrivateKeyFromSecretStorage();
    const { imported } = await restored.restoreKeyBackup();
    check(imported > 0, "sessions are restored from the backup");
    await readMessage(fresh, "from bob");
    done("the new device reads what was said before");
    const status = await restored.getDeviceVerificationStatus(alice, fresh.getDeviceId());
    check(status.crossSigningVerified, "the new device is signed");
    await until("news of the device", async () => {
        await other.getCrypto().getUserDeviceInfo([alice]);
        const device = await other.getCrypto().getDeviceVerificationStatus(alice, fresh.getDeviceId());
        return device?.signedByOwner;
    });
    done("bob sees that alice has signed it");
    await other.sendTextMessage(room, "welcome back");
    await readMessage(fresh, "welcome back");
    done("the new device reads what is said now");
    fresh.stopClient();
    other.stopClient();
}

main().then(
    () => process.exit(0),
    (error) => {
        console.error(error);
        process.exit(1);
    },
);
