/* SPDX-License-Identifier: MIT */
#ifndef GV_PROTO_SIG_MSG_H
#define GV_PROTO_SIG_MSG_H

/*
 * msg - the JSON messages between a computer and the server: {"message_id", "type", "payload": {...}}
 *
 * Does:      turns a message into a typed struct and back. Checks form: every required field is there, has its type and
 *            stays in its limit; unknown fields are ignored; a key that occurs twice refuses the message.
 * Does not:  verify signatures, know who may send what when (engine/server/session), keep anything between messages.
 * Thread:    any; one message belongs to one thread.
 * Memory:    a parsed message owns its memory until msg_deinit(); a message to be written borrows what it points to.
 *            Parsing is bounded by the size limits, MSG_DEPTH_MAX and MSG_VALUES_MAX.
 * Time:      none.
 *
 * Conventions of the payload structs: a pointer is NULL, a blob has n = 0, an address has family NETADDR_NONE and a session
 * is 0 where an optional field is missing or null. Strings are UTF-8 without NUL inside. docs/protocol.md has every field.
 */

#include "base/buf.h"
#include "base/macro.h"
#include "base/netaddr.h"
#include "proto/sig/netid.h"
#include "proto/sig/proof.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diag;

/* Lowest and highest version of this protocol that this code speaks. */
#define MSG_VERSION_LO 1
#define MSG_VERSION_HI 1

#define MSG_SIZE_TO_SERVER_MAX (512 * 1024)
#define MSG_SIZE_TO_CLIENT_MAX \
	(4 * 1024 * 1024) /* a network of 4096 computers with their admissions */
#define MSG_DEPTH_MAX       8
#define MSG_VALUES_MAX      65536 /* commas and brackets outside strings: bounds the parser's memory */
#define MSG_ID_MAX          64    /* bytes of message_id: printable ASCII */
#define MSG_COMPUTERS_MAX   4096
#define MSG_NETWORKS_MAX    256 /* in ComputerNetworks */
#define MSG_ICE_SERVERS_MAX 8
#define MSG_TEXT_MAX        512 /* bytes of an error text or a reason */
#define MSG_URL_MAX         256
#define MSG_CANDIDATE_MAX   512 /* bytes of one candidate line */
#define MSG_UFRAG_MAX       256 /* RFC 8839 5.4 */
#define MSG_MID_MAX         32

enum msg_type {
	MSG_NONE = 0,

	/* The server's first word, and login. */
	MSG_CHALLENGE,
	MSG_AUTHENTICATE,
	MSG_AUTHENTICATED,

	/* Requests of a computer, each with its reply. */
	MSG_CREATE_NETWORK,
	MSG_NETWORK_CREATED,
	MSG_LOOKUP_NETWORK,
	MSG_NETWORK_FOUND,
	MSG_JOIN_NETWORK,
	MSG_NETWORK_JOINED,
	MSG_CONNECT_NETWORK,
	MSG_NETWORK_CONNECTED,
	MSG_DISCONNECT_NETWORK,
	MSG_NETWORK_DISCONNECTED,
	MSG_LEAVE_NETWORK,
	MSG_NETWORK_LEFT,
	MSG_UPDATE_DOCUMENT,
	MSG_DOCUMENT_UPDATED, /* to the sender a reply, to the other connected members a notice */
	MSG_UPDATE_CLIENT_INFO,
	MSG_UPDATE_CLIENT_INFO_RESPONSE,
	MSG_GET_COMPUTER_NETWORKS,
	MSG_COMPUTER_NETWORKS,
	MSG_PING,
	MSG_PONG,

	/* Forwarded between two connected members: no reply, or MSG_ERROR. */
	MSG_SDP_OFFER,
	MSG_SDP_ANSWER,
	MSG_ICE_CANDIDATE,

	/* Notices of the server: no message_id, no reply. */
	MSG_COMPUTER_JOINED,
	MSG_COMPUTER_LEFT,
	MSG_COMPUTER_CONNECTED,
	MSG_COMPUTER_DISCONNECTED,
	MSG_COMPUTER_RENAMED,
	MSG_KICKED,
	MSG_NETWORK_DELETED,
	MSG_SERVER_SHUTDOWN,

	/* The reply to a request that failed; without a message_id about the connection itself. */
	MSG_ERROR,

	MSG_TYPES /* number of types */
};

/* Who wrote a message: decides its size limit and which types are accepted. */
enum msg_from {
	MSG_FROM_CLIENT = 1,
	MSG_FROM_SERVER = 2,
};

/* Codes of MSG_ERROR. */
enum msg_error_code {
	MSG_ERROR_OTHER = 0,         /* a code this version does not know; never sent */
	MSG_ERROR_BAD_REQUEST,       /* malformed, or not now */
	MSG_ERROR_NOT_AUTHENTICATED, /* login first */
	MSG_ERROR_BAD_LOGIN,         /* signature, nonce, host or key is wrong */
	MSG_ERROR_SUPERSEDED, /* the same key logged in elsewhere: wait 30 s before the next login */
	MSG_ERROR_NO_SUCH_NETWORK, /* unknown network id (never on joining) */
	MSG_ERROR_INVITE_REFUSED, /* wrong password; unknown, expired or used up invite; unknown network on joining */
	MSG_ERROR_BANNED,          /* this key was banned by the owner */
	MSG_ERROR_NETWORK_FULL,    /* no free address */
	MSG_ERROR_NAME_TAKEN,      /* the label is in use; `suggestion` has a free one */
	MSG_ERROR_SUBNET_CONFLICT, /* the subnet is not allowed here */
	MSG_ERROR_NOT_OWNER,       /* only the owner may */
	MSG_ERROR_NOT_MEMBER,      /* not a member of this network (any more) */
	MSG_ERROR_NOT_CONNECTED,   /* connect to the network first */
	MSG_ERROR_PEER_NOT_CONNECTED,
	MSG_ERROR_STALE_DOCUMENT,      /* the server holds the same or a newer epoch */
	MSG_ERROR_RATE_LIMITED,        /* try again after retry_after_s */
	MSG_ERROR_TOO_MANY,            /* networks, members, connections: a limit of the server */
	MSG_ERROR_TOO_BIG,             /* message longer than allowed */
	MSG_ERROR_SERVER_ERROR,        /* not the client's fault; nothing was changed */
	MSG_ERROR_SHUTTING_DOWN,       /* reconnect later */
	MSG_ERROR_UNSUPPORTED_VERSION, /* no common protocol version */

	MSG_ERROR_CODES
};

/* Bytes; n = 0 where absent. */
struct msg_blob {
	const uint8_t *p;
	size_t n;
};

struct msg_challenge {
	uint8_t nonce[PROOF_LOGIN_NONCE_SIZE];
	uint32_t version_lo, version_hi;
	int64_t unix_s;
};

struct msg_authenticate {
	uint8_t key[SIG_KEY_SIZE];
	uint64_t session;
	const char *host; /* "host:port" as dialled */
	uint8_t signature[SIG_SIGNATURE_SIZE];
	const char *name; /* of the computer, to show; optional */
	uint32_t version_lo, version_hi;
};

struct msg_ice_server {
	const char *urls;                  /* one URL, such as "stun:192.0.2.1:3478" */
	const char *username, *credential; /* optional */
};

struct msg_authenticated {
	uint32_t version; /* the one both sides speak from now on */
	struct msg_ice_server *ice_servers;
	size_t n_ice_servers;
};

/* One member of a network, as the server tells it; the admission is the proof. */
struct msg_computer {
	uint8_t key[SIG_KEY_SIZE];
	bool online;      /* connected to this network now */
	uint64_t session; /* 0 while offline */
	struct netaddr ip;
	struct netaddr ipv6;
	struct msg_blob admission; /* encoding of admission.h */
};

struct msg_create_network {
	struct msg_blob document; /* encoding of document.h, epoch 1 */
	struct msg_blob admission;
};

struct msg_lookup_network {
	const char *code; /* 10 letters */
};

struct msg_network_found {
	uint8_t network_id[NETID_SIZE];
};

struct msg_join_network {
	uint8_t network_id[NETID_SIZE];
	struct msg_blob admission;
};

/* NetworkCreated, NetworkJoined, NetworkConnected */
struct msg_network {
	uint8_t network_id[NETID_SIZE];
	const char *code;
	const char *network_name;
	struct netaddr computer_ip; /* the receiver's own */
	uint32_t prefix_length;
	struct netaddr ipv6; /* the receiver's own */
	struct netprefix subnet;
	struct msg_blob document;
	struct msg_computer *computers; /* all members, the receiver among them */
	size_t n_computers;
};

/*
 * Only a network: DisconnectNetwork, NetworkDisconnected, NetworkLeft, UpdateClientInfoResponse.
 */
struct msg_network_ref {
	uint8_t network_id[NETID_SIZE];
};

struct msg_connect_network {
	uint8_t network_id[NETID_SIZE];
	struct msg_blob admission; /* optional: a newer one than the server may have */
};

struct msg_leave_network {
	uint8_t network_id[NETID_SIZE];
	uint64_t session;
	int64_t unix_s;
	uint8_t signature[SIG_SIGNATURE_SIZE]; /* proof_leave_verify() with the login's key */
};

struct msg_update_document {
	uint8_t network_id[NETID_SIZE];
	struct msg_blob document;
};

struct msg_document_updated {
	uint8_t network_id[NETID_SIZE];
	struct msg_blob document; /* absent in the reply to the sender */
};

struct msg_update_client_info {
	uint8_t network_id[NETID_SIZE];
	struct msg_blob admission;
};

struct msg_network_info {
	uint8_t network_id[NETID_SIZE];
	const char *code;
	const char *network_name;
	struct netaddr computer_ip;
	struct netprefix subnet;
	bool connected;
	uint32_t computers, computers_online;
};

struct msg_computer_networks {
	struct msg_network_info *networks;
	size_t n_networks;
};

struct msg_pong {
	int64_t unix_s;
};

/* SdpOffer and SdpAnswer */
struct msg_sdp {
	uint8_t network_id[NETID_SIZE];
	uint8_t target_id[SIG_KEY_SIZE];
	uint8_t sender_id
		[SIG_KEY_SIZE]; /* set by the server; what a computer writes there is ignored */
	bool has_sender;
	uint64_t session; /* of the sender */
	uint8_t nonce[PROOF_NONCE_SIZE];
	uint8_t offer_nonce
		[PROOF_NONCE_SIZE]; /* SdpAnswer: of the offer it answers; zero in an offer */
	struct netaddr address;     /* the sender's IPv4 address in the network */
	const char *sdp;
	uint8_t signature[SIG_SIGNATURE_SIZE];
};

struct msg_ice_candidate {
	uint8_t network_id[NETID_SIZE];
	uint8_t target_id[SIG_KEY_SIZE];
	uint8_t sender_id[SIG_KEY_SIZE]; /* as above */
	bool has_sender;
	uint8_t nonce[PROOF_NONCE_SIZE]; /* of the offer, in both directions */
	const char *mid;
	const char *ufrag;
	const char *candidate; /* "candidate:…"; NULL with end_of_candidates */
	bool end_of_candidates;
};

/* ComputerJoined, ComputerConnected */
struct msg_computer_notice {
	uint8_t network_id[NETID_SIZE];
	struct msg_computer computer;
};

struct msg_computer_left {
	uint8_t network_id[NETID_SIZE];
	uint8_t key[SIG_KEY_SIZE];
	/* The leave notice the computer signed; without one nobody closes a live path. */
	bool is_signed;
	uint64_t session;
	int64_t unix_s;
	uint8_t signature[SIG_SIGNATURE_SIZE];
};

struct msg_computer_disconnected {
	uint8_t network_id[NETID_SIZE];
	uint8_t key[SIG_KEY_SIZE];
};

struct msg_computer_renamed {
	uint8_t network_id[NETID_SIZE];
	uint8_t key[SIG_KEY_SIZE];
	struct msg_blob admission;
};

struct msg_kicked {
	uint8_t network_id[NETID_SIZE];
	const char *reason;       /* optional */
	struct msg_blob document; /* optional: the one that no longer admits the receiver */
};

struct msg_network_deleted {
	uint8_t network_id[NETID_SIZE];
	const char *reason; /* optional */
};

struct msg_server_shutdown {
	uint32_t in_seconds;
};

struct msg_error {
	enum msg_error_code code;
	const char *message;    /* one sentence for a person */
	const char *suggestion; /* optional: a free label for MSG_ERROR_NAME_TAKEN */
	uint32_t retry_after_s; /* 0: none */
};

struct msg_store; /* memory of a parsed message */

struct msg {
	enum msg_type type;
	char id[MSG_ID_MAX + 1]; /* message_id; "" in notices */

	union {
		struct msg_challenge challenge;
		struct msg_authenticate authenticate;
		struct msg_authenticated authenticated;
		struct msg_create_network create_network;
		struct msg_lookup_network lookup_network;
		struct msg_network_found network_found;
		struct msg_join_network join_network;
		struct msg_network network; /* CREATED, JOINED, CONNECTED */
		struct msg_connect_network connect_network;
		struct msg_network_ref network_ref; /* see the struct */
		struct msg_leave_network leave_network;
		struct msg_update_document update_document;
		struct msg_document_updated document_updated;
		struct msg_update_client_info update_client_info;
		struct msg_computer_networks computer_networks;
		struct msg_pong pong;
		struct msg_sdp sdp; /* SDP_OFFER, SDP_ANSWER */
		struct msg_ice_candidate ice_candidate;
		struct msg_computer_notice
			computer_notice; /* COMPUTER_JOINED, COMPUTER_CONNECTED */
		struct msg_computer_left computer_left;
		struct msg_computer_disconnected computer_disconnected;
		struct msg_computer_renamed computer_renamed;
		struct msg_kicked kicked;
		struct msg_network_deleted network_deleted;
		struct msg_server_shutdown server_shutdown;
		struct msg_error error;
	};

	struct msg_store *store; /* owned; NULL in a message made by hand */
};

/* Results of msg_parse(); the receiver never closes a connection for MSG_BAD_FIELD or MSG_UNKNOWN_TYPE. */
enum msg_result {
	MSG_OK = 0,
	MSG_BAD_JSON =
		1, /* no JSON object, too deep, too many values, or a bad envelope: server answers bad_request */
	MSG_TOO_BIG = 2,      /* server answers too_big and closes */
	MSG_UNKNOWN_TYPE = 3, /* out->id is set: server answers bad_request; client ignores it */
	MSG_BAD_FIELD =
		4, /* out->id and out->type are set: server answers bad_request; client ignores it */
};

/*
 * Parses one message. On MSG_OK *out must be given to msg_deinit(); in all other cases it owns nothing. diag (may be NULL)
 * gets one sentence such as: missing field "network_id". Returns enum msg_result; -ENOMEM.
 */
int msg_parse(struct msg *out, const char *text, size_t len, enum msg_from from, struct diag *diag)
	gv_must_check gv_nonnull(1, 2);

/* Frees what a parsed message owns. A zeroed or handmade message is allowed. */
void msg_deinit(struct msg *m) gv_nonnull(1);

/*
 * Appends the JSON text to out. Returns 0; -EINVAL a field is over its limit or not UTF-8 (an error of the caller: check
 * people's input before); -ENOBUFS out is full; -ENOMEM. On failure out holds garbage after its old content.
 */
int msg_format(const struct msg *m, struct buf *out) gv_must_check gv_nonnull(1, 2);

/* "SdpOffer"; "?" for what is no type. */
const char *msg_type_name(enum msg_type type);
/* A request of a computer that gets exactly one reply (forwards are none). */
bool msg_is_request(enum msg_type type);
/* The type of the successful reply to a request; MSG_NONE for others. */
enum msg_type msg_reply_type(enum msg_type request);

/* "bad_request"; "other" for what is none. */
const char *msg_error_text(enum msg_error_code code);
/* MSG_ERROR_OTHER for an unknown word. */
enum msg_error_code msg_error_parse(const char *text) gv_nonnull(1);
/* Exit code of the command line for this error (docs/protocol.md). */
int msg_error_exit_code(enum msg_error_code code);

/*
 * An SdpOffer or SdpAnswer as the struct that proof_offer_*() and proof_answer_*() take, and back. From a message, `from` is
 * sender_id, `to` is target_id, and sdp stays borrowed. To a message, sender_id stays unset (the server sets it) and
 * offer_nonce zero (an answer's sender sets it).
 */
void msg_sdp_to_proof(const struct msg_sdp *m, struct proof_offer *out) gv_nonnull(1, 2);
void msg_sdp_from_proof(struct msg_sdp *out, const struct proof_offer *proof) gv_nonnull(1, 2);

#endif /* GV_PROTO_SIG_MSG_H */
