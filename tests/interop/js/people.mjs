// What scripts with matrix-js-sdk have in common: people who log in, and waiting for things.
import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

const PATIENCE_MS = 30_000;
logger.setLevel("silent");

export function within(what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`this took too long: ${what}`)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export function when(client, event, found) {
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

export function until(what, isSo) {
    const asking = async () => {
        while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 100));
    };
    return within(what, asking());
}

export function done(what) {
    console.log(`* ${what}`);
}

export function check(truth, what) {
    if (!truth) throw new Error(`this is not so: ${what}`);
    done(what);
}

export async function logsIn(url, userId, password, secret = { key: null, id: null }) {
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

export const withPassword = (userId, password) => (makeRequest) =>
    makeRequest({ type: "m.login.password", identifier: { type: "m.id.user", user: userId }, password });

export function readMessage(client, text) {
    const isIt = (event) => event.getContent().body === text && !event.isDecryptionFailure();
    for (const room of client.getRooms()) {
        const found = room.getLiveTimeline().getEvents().find(isIt);
        if (found) return Promise.resolve([found]);
    }
    return within(`the message ${text}`, when(client, sdk.MatrixEventEvent.Decrypted, isIt));
}

// A room with encryption that one makes and the other, invited, joins.
export async function together(one, other) {
    const { room_id: room } = await one.createRoom({
        preset: "trusted_private_chat",
        invite: [other.getUserId()],
        initial_state: [
            { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
        ],
    });
    await within("the invite", (async () => {
        if (other.getRoom(room) === null) await when(other, sdk.ClientEvent.Room, (each) => each.roomId === room);
    })());
    const joined = when(
        one,
        sdk.RoomMemberEvent.Membership,
        (_, member) => member.userId === other.getUserId() && member.membership === "join",
    );
    await other.joinRoom(room);
    await within("the join", joined);
    await until("the state of the room", () => other.getCrypto().isEncryptionEnabledInRoom(room));
    return room;
}

export function tell(story) {
    story().then(
        () => process.exit(0),
        (error) => {
            console.error(error);
            process.exit(1);
        },
    );
}
