// A person with matrix-js-sdk: sets cross-signing, secret storage and a key backup up, talks in an encrypted room, and
// restores all of it on a new device that knows the recovery key only.
//
// Arguments: the server's URL, two user ids, the password of both. Prints a line with a star for each thing that is done.
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { check, done, logsIn, readMessage, tell, together, until, when, within, withPassword } from "./people.mjs";

const [url, alice, bob, password] = process.argv.slice(2);

async function main() {
    const secret = { key: null, id: null };
    const old = await logsIn(url, alice, password, secret);
    const other = await logsIn(url, bob, password);
    const crypto = old.getCrypto();
    for (const client of [old, other]) {
        await client.getCrypto().bootstrapCrossSigning({
            authUploadDeviceSigningKeys: withPassword(client.getUserId(), password),
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

    const room = await together(old, other);
    await old.sendTextMessage(room, "from alice");
    await readMessage(other, "from alice");
    done("bob reads what alice says");
    await other.sendTextMessage(room, "from bob");
    await readMessage(old, "from bob");
    done("alice reads what bob says");
    await until("the backup", async () => (await crypto.checkKeyBackupAndEnable())?.backupInfo.count >= 2);
    done("the backup holds both sessions");
    await old.logout(true);

    const fresh = await logsIn(url, alice, password, { key: recovery.privateKey, id: secret.id });
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

tell(main);
