/* SPDX-License-Identifier: MIT */

#include "proto/sig/admission.h"
#include "proto/sig/document.h"
#include "proto/sig/link.h"
#include "proto/sig/msg.h"
#include "proto/sig/msg_impl.h"

#include <string.h>

#define MEMBER_SIZE(type, member) sizeof(((const type *)0)->member)
#define END                  \
	{                    \
		.name = NULL \
	}

/* Shorthands for the tables below; T is the struct, M its member of the same name as the JSON field. */
#define F(T, M, KIND, NEED, MAX)                                                               \
	{                                                                                      \
		.name = #M, .kind = (KIND), .need = (NEED), .at = offsetof(T, M), .max = (MAX) \
	}
#define REQ(T, M, KIND, MAX) F(T, M, KIND, FIELD_REQUIRED, MAX)
#define OPT(T, M, KIND, MAX) F(T, M, KIND, FIELD_OPTIONAL, MAX)
#define BYTES(T, M)          REQ(T, M, FIELD_BYTES, MEMBER_SIZE(T, M))
#define NETID(T)             REQ(T, network_id, FIELD_NETID, 0)
#define GROUPED(T, M, HAS, KIND, MAX)                                                    \
	{                                                                                \
		.name = #M, .kind = (KIND), .need = FIELD_GROUPED, .at = offsetof(T, M), \
		.count_at = offsetof(T, HAS), .max = (MAX)                               \
	}
#define LIST(T, M, COUNT, MAX, TABLE, ELEMENT)                                                \
	{                                                                                     \
		.name = #M, .kind = FIELD_LIST, .need = FIELD_REQUIRED, .at = offsetof(T, M), \
		.count_at = offsetof(T, COUNT), .max = (MAX), .table = (TABLE),               \
		.size = sizeof(ELEMENT)                                                       \
	}

static const struct field f_empty[] = {END};

static const struct field f_challenge[] = {
	BYTES(struct msg_challenge, nonce),
	REQ(struct msg_challenge, version_lo, FIELD_U32, UINT16_MAX),
	REQ(struct msg_challenge, version_hi, FIELD_U32, UINT16_MAX),
	REQ(struct msg_challenge, unix_s, FIELD_TIME, 0),
	END,
};

static const struct field f_authenticate[] = {
	BYTES(struct msg_authenticate, key),
	REQ(struct msg_authenticate, session, FIELD_SESSION, 0),
	REQ(struct msg_authenticate, host, FIELD_LINE, PROOF_HOST_MAX),
	BYTES(struct msg_authenticate, signature),
	OPT(struct msg_authenticate, name, FIELD_LINE, ADMISSION_NAME_MAX),
	REQ(struct msg_authenticate, version_lo, FIELD_U32, UINT16_MAX),
	REQ(struct msg_authenticate, version_hi, FIELD_U32, UINT16_MAX),
	END,
};

static const struct field f_ice_server[] = {
	REQ(struct msg_ice_server, urls, FIELD_LINE, MSG_URL_MAX),
	OPT(struct msg_ice_server, username, FIELD_LINE, MSG_TEXT_MAX),
	OPT(struct msg_ice_server, credential, FIELD_LINE, MSG_TEXT_MAX),
	END,
};

static const struct field f_authenticated[] = {
	REQ(struct msg_authenticated, version, FIELD_U32, UINT16_MAX),
	LIST(struct msg_authenticated, ice_servers, n_ice_servers, MSG_ICE_SERVERS_MAX,
             f_ice_server, struct msg_ice_server),
	END,
};

static const struct field f_computer[] = {
	BYTES(struct msg_computer, key),
	REQ(struct msg_computer, online, FIELD_BOOL, 0),
	OPT(struct msg_computer, session, FIELD_SESSION, 0),
	REQ(struct msg_computer, ip, FIELD_IP4, 0),
	REQ(struct msg_computer, ipv6, FIELD_IP6, 0),
	REQ(struct msg_computer, admission, FIELD_BLOB, ADMISSION_SIZE_MAX),
	END,
};

static const struct field f_create_network[] = {
	REQ(struct msg_create_network, document, FIELD_BLOB, DOCUMENT_SIZE_MAX),
	REQ(struct msg_create_network, admission, FIELD_BLOB, ADMISSION_SIZE_MAX),
	END,
};

static const struct field f_network[] = {
	NETID(struct msg_network),
	REQ(struct msg_network, code, FIELD_CODE, 0),
	REQ(struct msg_network, network_name, FIELD_LINE, DOCUMENT_NAME_MAX),
	REQ(struct msg_network, computer_ip, FIELD_IP4, 0),
	REQ(struct msg_network, prefix_length, FIELD_U32, 32),
	REQ(struct msg_network, ipv6, FIELD_IP6, 0),
	REQ(struct msg_network, subnet, FIELD_PREFIX, 0),
	REQ(struct msg_network, document, FIELD_BLOB, DOCUMENT_SIZE_MAX),
	LIST(struct msg_network, computers, n_computers, MSG_COMPUTERS_MAX, f_computer,
             struct msg_computer),
	END,
};

static const struct field f_lookup_network[] = {
	REQ(struct msg_lookup_network, code, FIELD_CODE, 0),
	END,
};

static const struct field f_network_found[] = {
	NETID(struct msg_network_found),
	END,
};

static const struct field f_join_network[] = {
	NETID(struct msg_join_network),
	REQ(struct msg_join_network, admission, FIELD_BLOB, ADMISSION_SIZE_MAX),
	END,
};

static const struct field f_connect_network[] = {
	NETID(struct msg_connect_network),
	OPT(struct msg_connect_network, admission, FIELD_BLOB, ADMISSION_SIZE_MAX),
	END,
};

static const struct field f_network_ref[] = {
	NETID(struct msg_network_ref),
	END,
};

static const struct field f_leave_network[] = {
	NETID(struct msg_leave_network),
	REQ(struct msg_leave_network, session, FIELD_SESSION, 0),
	REQ(struct msg_leave_network, unix_s, FIELD_TIME, 0),
	BYTES(struct msg_leave_network, signature),
	END,
};

static const struct field f_update_document[] = {
	NETID(struct msg_update_document),
	REQ(struct msg_update_document, document, FIELD_BLOB, DOCUMENT_SIZE_MAX),
	END,
};

static const struct field f_document_updated[] = {
	NETID(struct msg_document_updated),
	OPT(struct msg_document_updated, document, FIELD_BLOB, DOCUMENT_SIZE_MAX),
	END,
};

static const struct field f_update_client_info[] = {
	NETID(struct msg_update_client_info),
	REQ(struct msg_update_client_info, admission, FIELD_BLOB, ADMISSION_SIZE_MAX),
	END,
};

static const struct field f_network_info[] = {
	NETID(struct msg_network_info),
	REQ(struct msg_network_info, code, FIELD_CODE, 0),
	REQ(struct msg_network_info, network_name, FIELD_LINE, DOCUMENT_NAME_MAX),
	REQ(struct msg_network_info, computer_ip, FIELD_IP4, 0),
	REQ(struct msg_network_info, subnet, FIELD_PREFIX, 0),
	REQ(struct msg_network_info, connected, FIELD_BOOL, 0),
	REQ(struct msg_network_info, computers, FIELD_U32, UINT32_MAX),
	REQ(struct msg_network_info, computers_online, FIELD_U32, UINT32_MAX),
	END,
};

static const struct field f_computer_networks[] = {
	LIST(struct msg_computer_networks, networks, n_networks, MSG_NETWORKS_MAX, f_network_info,
             struct msg_network_info),
	END,
};

static const struct field f_pong[] = {
	REQ(struct msg_pong, unix_s, FIELD_TIME, 0),
	END,
};

static const struct field f_sdp_offer[] = {
	NETID(struct msg_sdp),
	BYTES(struct msg_sdp, target_id),
	GROUPED(struct msg_sdp, sender_id, has_sender, FIELD_BYTES, SIG_KEY_SIZE),
	REQ(struct msg_sdp, session, FIELD_SESSION, 0),
	BYTES(struct msg_sdp, nonce),
	REQ(struct msg_sdp, address, FIELD_IP4, 0),
	REQ(struct msg_sdp, sdp, FIELD_TEXT, PROOF_SDP_MAX),
	BYTES(struct msg_sdp, signature),
	END,
};

static const struct field f_sdp_answer[] = {
	NETID(struct msg_sdp),
	BYTES(struct msg_sdp, target_id),
	GROUPED(struct msg_sdp, sender_id, has_sender, FIELD_BYTES, SIG_KEY_SIZE),
	REQ(struct msg_sdp, session, FIELD_SESSION, 0),
	BYTES(struct msg_sdp, nonce),
	BYTES(struct msg_sdp, offer_nonce),
	REQ(struct msg_sdp, address, FIELD_IP4, 0),
	REQ(struct msg_sdp, sdp, FIELD_TEXT, PROOF_SDP_MAX),
	BYTES(struct msg_sdp, signature),
	END,
};

static const struct field f_ice_candidate[] = {
	NETID(struct msg_ice_candidate),
	BYTES(struct msg_ice_candidate, target_id),
	GROUPED(struct msg_ice_candidate, sender_id, has_sender, FIELD_BYTES, SIG_KEY_SIZE),
	BYTES(struct msg_ice_candidate, nonce),
	REQ(struct msg_ice_candidate, mid, FIELD_LINE, MSG_MID_MAX),
	REQ(struct msg_ice_candidate, ufrag, FIELD_LINE, MSG_UFRAG_MAX),
	OPT(struct msg_ice_candidate, candidate, FIELD_LINE, MSG_CANDIDATE_MAX),
	OPT(struct msg_ice_candidate, end_of_candidates, FIELD_BOOL, 0),
	END,
};

static const struct field f_computer_notice[] = {
	NETID(struct msg_computer_notice),
	{.name = "computer",
         .kind = FIELD_OBJECT,
         .at = offsetof(struct msg_computer_notice, computer),
         .table = f_computer},
	END,
};

static const struct field f_computer_left[] = {
	NETID(struct msg_computer_left),
	BYTES(struct msg_computer_left, key),
	GROUPED(struct msg_computer_left, session, is_signed, FIELD_SESSION, 0),
	GROUPED(struct msg_computer_left, unix_s, is_signed, FIELD_TIME, 0),
	GROUPED(struct msg_computer_left, signature, is_signed, FIELD_BYTES, SIG_SIGNATURE_SIZE),
	END,
};

static const struct field f_computer_disconnected[] = {
	NETID(struct msg_computer_disconnected),
	BYTES(struct msg_computer_disconnected, key),
	END,
};

static const struct field f_computer_renamed[] = {
	NETID(struct msg_computer_renamed),
	BYTES(struct msg_computer_renamed, key),
	REQ(struct msg_computer_renamed, admission, FIELD_BLOB, ADMISSION_SIZE_MAX),
	END,
};

static const struct field f_kicked[] = {
	NETID(struct msg_kicked),
	OPT(struct msg_kicked, reason, FIELD_LINE, MSG_TEXT_MAX),
	OPT(struct msg_kicked, document, FIELD_BLOB, DOCUMENT_SIZE_MAX),
	END,
};

static const struct field f_network_deleted[] = {
	NETID(struct msg_network_deleted),
	OPT(struct msg_network_deleted, reason, FIELD_LINE, MSG_TEXT_MAX),
	END,
};

static const struct field f_server_shutdown[] = {
	REQ(struct msg_server_shutdown, in_seconds, FIELD_U32, 86400),
	END,
};

static const struct field f_error[] = {
	REQ(struct msg_error, code, FIELD_ERROR, 0),
	REQ(struct msg_error, message, FIELD_LINE, MSG_TEXT_MAX),
	OPT(struct msg_error, suggestion, FIELD_LINE, MSG_TEXT_MAX),
	OPT(struct msg_error, retry_after_s, FIELD_U32, 86400),
	END,
};

#define REQUEST(NAME, REPLY, FIELDS)                       \
	{                                                  \
		(NAME), MSG_FROM_CLIENT, (REPLY), (FIELDS) \
	}
#define REPLY(NAME, FIELDS)                                 \
	{                                                   \
		(NAME), MSG_FROM_SERVER, MSG_NONE, (FIELDS) \
	}
#define NOTICE(NAME, FIELDS)                                \
	{                                                   \
		(NAME), MSG_FROM_SERVER, MSG_NONE, (FIELDS) \
	}
#define FORWARD(NAME, FIELDS)                                                 \
	{                                                                     \
		(NAME), MSG_FROM_CLIENT | MSG_FROM_SERVER, MSG_NONE, (FIELDS) \
	}

const struct type_info msg_table_types[MSG_TYPES] = {
	[MSG_NONE] = {.name = NULL},
	[MSG_CHALLENGE] = NOTICE("Challenge", f_challenge),
	[MSG_AUTHENTICATE] = REQUEST("Authenticate", MSG_AUTHENTICATED, f_authenticate),
	[MSG_AUTHENTICATED] = REPLY("Authenticated", f_authenticated),
	[MSG_CREATE_NETWORK] = REQUEST("CreateNetwork", MSG_NETWORK_CREATED, f_create_network),
	[MSG_NETWORK_CREATED] = REPLY("NetworkCreated", f_network),
	[MSG_LOOKUP_NETWORK] = REQUEST("LookupNetwork", MSG_NETWORK_FOUND, f_lookup_network),
	[MSG_NETWORK_FOUND] = REPLY("NetworkFound", f_network_found),
	[MSG_JOIN_NETWORK] = REQUEST("JoinNetwork", MSG_NETWORK_JOINED, f_join_network),
	[MSG_NETWORK_JOINED] = REPLY("NetworkJoined", f_network),
	[MSG_CONNECT_NETWORK] = REQUEST("ConnectNetwork", MSG_NETWORK_CONNECTED, f_connect_network),
	[MSG_NETWORK_CONNECTED] = REPLY("NetworkConnected", f_network),
	[MSG_DISCONNECT_NETWORK] =
		REQUEST("DisconnectNetwork", MSG_NETWORK_DISCONNECTED, f_network_ref),
	[MSG_NETWORK_DISCONNECTED] = REPLY("NetworkDisconnected", f_network_ref),
	[MSG_LEAVE_NETWORK] = REQUEST("LeaveNetwork", MSG_NETWORK_LEFT, f_leave_network),
	[MSG_NETWORK_LEFT] = REPLY("NetworkLeft", f_network_ref),
	[MSG_UPDATE_DOCUMENT] = REQUEST("UpdateDocument", MSG_DOCUMENT_UPDATED, f_update_document),
	[MSG_DOCUMENT_UPDATED] = REPLY("DocumentUpdated", f_document_updated),
	[MSG_UPDATE_CLIENT_INFO] =
		REQUEST("UpdateClientInfo", MSG_UPDATE_CLIENT_INFO_RESPONSE, f_update_client_info),
	[MSG_UPDATE_CLIENT_INFO_RESPONSE] = REPLY("UpdateClientInfoResponse", f_network_ref),
	[MSG_GET_COMPUTER_NETWORKS] =
		REQUEST("GetComputerNetworks", MSG_COMPUTER_NETWORKS, f_empty),
	[MSG_COMPUTER_NETWORKS] = REPLY("ComputerNetworks", f_computer_networks),
	[MSG_PING] = REQUEST("Ping", MSG_PONG, f_empty),
	[MSG_PONG] = REPLY("Pong", f_pong),
	[MSG_SDP_OFFER] = FORWARD("SdpOffer", f_sdp_offer),
	[MSG_SDP_ANSWER] = FORWARD("SdpAnswer", f_sdp_answer),
	[MSG_ICE_CANDIDATE] = FORWARD("IceCandidate", f_ice_candidate),
	[MSG_COMPUTER_JOINED] = NOTICE("ComputerJoined", f_computer_notice),
	[MSG_COMPUTER_LEFT] = NOTICE("ComputerLeft", f_computer_left),
	[MSG_COMPUTER_CONNECTED] = NOTICE("ComputerConnected", f_computer_notice),
	[MSG_COMPUTER_DISCONNECTED] = NOTICE("ComputerDisconnected", f_computer_disconnected),
	[MSG_COMPUTER_RENAMED] = NOTICE("ComputerRenamed", f_computer_renamed),
	[MSG_KICKED] = NOTICE("Kicked", f_kicked),
	[MSG_NETWORK_DELETED] = NOTICE("NetworkDeleted", f_network_deleted),
	[MSG_SERVER_SHUTDOWN] = NOTICE("ServerShutdown", f_server_shutdown),
	[MSG_ERROR] = NOTICE("Error", f_error),
};

/* Exit codes: 1 failed, 4 not allowed, 5 no such network or peer, 6 refused, 7 full or conflicting, 8 peer, 9 server. */
static const struct {
	const char *text;
	int exit_code;
} errors[MSG_ERROR_CODES] = {
	[MSG_ERROR_OTHER] = {"other", 1},
	[MSG_ERROR_BAD_REQUEST] = {"bad_request", 1},
	[MSG_ERROR_NOT_AUTHENTICATED] = {"not_authenticated", 1},
	[MSG_ERROR_BAD_LOGIN] = {"bad_login", 4},
	[MSG_ERROR_SUPERSEDED] = {"superseded", 1},
	[MSG_ERROR_NO_SUCH_NETWORK] = {"no_such_network", 5},
	[MSG_ERROR_INVITE_REFUSED] = {"invite_refused", 6},
	[MSG_ERROR_BANNED] = {"banned", 6},
	[MSG_ERROR_NETWORK_FULL] = {"network_full", 7},
	[MSG_ERROR_NAME_TAKEN] = {"name_taken", 7},
	[MSG_ERROR_SUBNET_CONFLICT] = {"subnet_conflict", 7},
	[MSG_ERROR_NOT_OWNER] = {"not_owner", 4},
	[MSG_ERROR_NOT_MEMBER] = {"not_member", 5},
	[MSG_ERROR_NOT_CONNECTED] = {"not_connected", 1},
	[MSG_ERROR_PEER_NOT_CONNECTED] = {"peer_not_connected", 8},
	[MSG_ERROR_STALE_DOCUMENT] = {"stale_document", 7},
	[MSG_ERROR_RATE_LIMITED] = {"rate_limited", 1},
	[MSG_ERROR_TOO_MANY] = {"too_many", 7},
	[MSG_ERROR_TOO_BIG] = {"too_big", 1},
	[MSG_ERROR_SERVER_ERROR] = {"server_error", 1},
	[MSG_ERROR_SHUTTING_DOWN] = {"shutting_down", 9},
	[MSG_ERROR_UNSUPPORTED_VERSION] = {"unsupported_version", 1},
};

const char *msg_type_name(enum msg_type type)
{
	if ((unsigned)type >= MSG_TYPES || msg_table_types[type].name == NULL)
		return "?";
	return msg_table_types[type].name;
}

bool msg_is_request(enum msg_type type)
{
	return msg_reply_type(type) != MSG_NONE;
}

enum msg_type msg_reply_type(enum msg_type request)
{
	return (unsigned)request < MSG_TYPES ? msg_table_types[request].reply : MSG_NONE;
}

const char *msg_error_text(enum msg_error_code code)
{
	return errors[(unsigned)code < MSG_ERROR_CODES ? code : MSG_ERROR_OTHER].text;
}

enum msg_error_code msg_error_parse(const char *text)
{
	for (unsigned i = MSG_ERROR_OTHER + 1; i < MSG_ERROR_CODES; i++)
		if (strcmp(errors[i].text, text) == 0)
			return (enum msg_error_code)i;
	return MSG_ERROR_OTHER;
}

int msg_error_exit_code(enum msg_error_code code)
{
	return errors[(unsigned)code < MSG_ERROR_CODES ? code : MSG_ERROR_OTHER].exit_code;
}
