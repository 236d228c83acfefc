// A person with matrix-js-sdk leaves a device that sleeps and logs out; what is said meanwhile, by somebody on another
// server, is read on the next device, which wakes it.
//
// Arguments: the URL and the user id of one, those of the other, the password of both. Prints a line with a star for each
// thing that is done.
import { check, done, logsIn, readMessage, tell, together, until, withPassword } from "./people.mjs";

const [hisUrl, alice, hersUrl, bob, password] = process.argv.slice(2);

async function main() {
    const secret = { key: null, id: null };
    const old = await logsIn(hisUrl, alice, password, secret);
    const other = await logsIn(hersUrl, bob, password);
    const crypto = old.getCrypto();
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: withPassword(alice, password) });
    const recovery = await crypto.createRecoveryKeyFromPassphrase();
    await crypto.bootstrapSecretStorage({
        createSecretStorageKey: async () => recovery,
        setupNewSecretStorage: true,
    });
    check(await crypto.isDehydrationSupported(), "the server takes devices that sleep");
    await crypto.startDehydration();
    const room = await together(old, other);
    await other.sendTextMessage(room, "are you there?");
    await readMessage(old, "are you there?");
    done("they talk");
    await old.logout(true);
    await until("the sleeper alone", async () => {
        const devices = (await other.getCrypto().getUserDeviceInfo([alice], true)).get(alice);
        return devices.size === 1 && [...devices.values()][0].dehydrated;
    });
    done("bob sees that only a sleeping device is left");
    await other.sendTextMessage(room, "while you sleep");

    const fresh = await logsIn(hisUrl, alice, password, { key: recovery.privateKey, id: secret.id });
    await fresh.getCrypto().userHasCrossSigningKeys(alice, true);
    await fresh.getCrypto().bootstrapCrossSigning({});
    await fresh.getCrypto().startDehydration();
    await readMessage(fresh, "while you sleep");
    done("the next device reads what came to the sleeping one");
    await until("another sleeper", async () => {
        const devices = (await other.getCrypto().getUserDeviceInfo([alice], true)).get(alice);
        return [...devices.values()].filter((device) => device.dehydrated).length === 1 && devices.size === 2;
    });
    done("another sleeping device has taken its place");
    for (const client of [fresh, other]) client.stopClient();
}

tell(main);
