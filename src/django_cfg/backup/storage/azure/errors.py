"""What Azure Blob Storage says no with, in words that name the parameter to change.

The codes: https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-error-codes
"""

from __future__ import annotations

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.azure.container import Container
from django_cfg.backup.storage.object_store import errors
from django_cfg.backup.storage.object_store.errors import FAILED, NOT_AVAILABLE, SLOW_DOWN, Advice

_CONTAINER = "there is no such container: check azure_container and azure_account; this package creates no container"
_KEY = (
    "azure_account_key or azure_sas_token is wrong or has expired, or this machine's clock is: copy it again, and see "
    "that it is of azure_account"
)
_POLICY = (
    "access was denied: an azure_sas_token needs the permissions rwdlc on the container, an identity the role Storage "
    "Blob Data Contributor (docs/storage.md)"
)
_NETWORK = "the account's firewall does not allow this machine: add its address under Networking"
_NO_KEYS = (
    "the account allows no keys: leave azure_account_key and azure_sas_token out, and give the machine an identity"
)
_FULL = "the account is full: make room there, or let azure_account name another"
_NO_IDENTITY = (
    "this machine gives no credentials: there is neither a variable that holds some (AZURE_STORAGE_ACCOUNT_KEY, "
    "AZURE_CLIENT_ID and others), nor a managed identity; attach one, or set azure_account_key or azure_sas_token"
)

_ADVICE = Advice(
    codes={
        "ContainerNotFound": _CONTAINER,
        "ContainerBeingDeleted": _CONTAINER,
        "ContainerDisabled": _CONTAINER,
        "InvalidResourceName": _CONTAINER,
        "AuthenticationFailed": _KEY,
        "AuthorizationFailure": _KEY,
        "InvalidAuthenticationInfo": _KEY,
        "NoAuthenticationInformation": _KEY,
        "AuthorizationPermissionMismatch": _POLICY,
        "AuthorizationServiceMismatch": _POLICY,
        "AuthorizationResourceTypeMismatch": _POLICY,
        "AuthorizationProtocolMismatch": _POLICY,
        "InsufficientAccountPermissions": _POLICY,
        "AuthorizationSourceIPMismatch": _NETWORK,
        "KeyBasedAuthenticationNotPermitted": _NO_KEYS,
        "AccountIsDisabled": "the account azure_account is disabled: see Azure's portal",
        "AccountLimitExceeded": _FULL,
        "ServerBusy": SLOW_DOWN,
        "OperationTimedOut": NOT_AVAILABLE,
        "InternalError": FAILED,
    },
    full=_FULL,
    denied=_POLICY,
    endpoint="azure_endpoint_url",
    host="azure_account and azure_endpoint_url",
)
_NO_CREDENTIALS = ("token request", "Error reading federated token file", "'az account get-access-token'", "azure cli")


def storage_error(error: BaseException, doing: str, container: Container) -> StorageError:
    """*error* of obstore as one of ours. Raise it ``from None``: the original is not fit to be shown."""
    return errors.storage_error(error, doing, container, _ADVICE, _reason(error, container))


def _reason(error: BaseException, container: Container) -> str:
    """Return what only Azure has, or ""."""
    if container.account_key or container.sas_token:
        return ""
    text = str(error)
    is_elsewhere = errors.is_of_another_server(error, container.endpoint)
    return _NO_IDENTITY if is_elsewhere or any(sign in text for sign in _NO_CREDENTIALS) else ""
